"""The autograder: judges notebooks by what they do, on worlds that nobody has seen."""
