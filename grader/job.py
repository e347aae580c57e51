"""One thing to grade, as data: what a result depends on, and nothing else. Its digest is its key.

A job carries the notebook's bytes and the seed, so that it can be run on any machine that has the same sources; what is
in the gradebook under its key is not graded again.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from grader.limits import Limits
from workshop.paths import PACKAGES, REPOSITORY, digest_of
from workshop.topics import Topic
from workshop.world import generator_version


@dataclass(frozen=True)
class Job:
    """``topic``: the lab that was expected; ``notebook``: the file's bytes; ``seed``: 16 bytes, a secret; ``sources``: see
    sources_digest(). Whose notebook it is does not matter for the result, so that it is not here."""

    topic: str
    notebook: bytes
    seed: bytes
    scale: float
    limits: Limits
    isolation: str
    sources: str

    @property
    def key(self) -> str:
        """64 hexadecimal digits that change with anything on which the result depends. Gives nothing of the seed away."""
        digest = hashlib.sha256()
        for part in (
            self.topic,
            hashlib.sha256(self.notebook).hexdigest(),
            hashlib.sha256(b"job/" + self.seed).hexdigest(),
            repr(self.scale),
            repr(sorted(asdict(self.limits).items())),
            self.isolation,
            self.sources,
        ):
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What came of a job. ``result``: by grader/result.schema.json, its learner empty; ``executed``: the executed notebook
    as text, None when the notebook was refused or lost; ``tries``: how often it was begun; ``seconds``: of the last try."""

    result: dict[str, Any]
    executed: str | None
    tries: int
    seconds: float


@cache
def sources_digest(item: Topic) -> str:
    """Sixteen hexadecimal digits that change with the lab, its checks, the kit, the grader, the generator, the lock and the
    version of Python: what decides a result besides the notebook and the seed."""
    own = (p for f in item.rests_on for p in (f / "lab.py", f / "checks.py", *sorted(f.glob("*.yaml"))))
    places = (*own, REPOSITORY / "requirements.txt")
    packages = (PACKAGES / "workshop", PACKAGES / "grader")
    return digest_of((*places, *packages), generator_version(), f"{sys.version_info[0]}.{sys.version_info[1]}")[:16]
