# The answer bank of 2.6. Each cell stands in for the task's cell of the lab.
