"""What the grader says about a notebook as a whole, apart from its checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """``code`` is stable and for machines; ``text`` is for the learner; ``level`` is note, warning or fatal."""

    code: str
    text: str
    level: str = "warning"


class Refused(Exception):  # noqa: N818 - a verdict on the input
    """The input cannot be graded at all; ``finding`` says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(code, text, "fatal")
