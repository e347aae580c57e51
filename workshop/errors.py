"""Errors that a person reads: one line that says what to do."""


class WorkshopError(Exception):
    """Something outside the learner's work went wrong; the message says what to do. Exit code 1."""


class UsageError(WorkshopError):
    """A wrong name, parameter or flag; the message says which are right. Exit code 2."""
