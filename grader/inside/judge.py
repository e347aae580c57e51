"""The judge in a forked process: what a learner wrote and the trusted side must run (SQL, suites, policies) runs there."""

from __future__ import annotations

import os
from typing import Any

from grader.inside import forks
from workshop import judged


def run(request: dict[str, Any], fds: list[int]) -> None:
    """Answers requests on the socket handed in until it is closed."""
    with os.fdopen(fds[0], "rb") as requests, os.fdopen(os.dup(fds[0]), "wb") as answers, forks.no_standard_error():
        judged.serve(requests, answers)
