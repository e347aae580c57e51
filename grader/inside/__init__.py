"""What the grader runs on the learner's side of the wall: seen from within the sandbox, so nothing secret stands here."""
