"""Packages that would do a lab's task for the learner: the checks have them, its notebook is refused them.

The syllabus names them (``withheld``). In a notebook of the learner's own this is a reminder, no wall; the grader's sandbox does
not hold them at all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

_refused: set[str] = set()
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)
_held: dict[str, ModuleType] = {}


class _Refusal(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if _package(fullname) in _refused and not _trusted.get():
            raise ModuleNotFoundError(
                f"The package {_package(fullname)} is withheld in this lab: what it does is what you are asked to write.",
                name=fullname,
            )


_finder = _Refusal()


def withhold(packages: Iterable[str]) -> None:
    """From now on this process is refused these packages, all but trusted_import()."""
    _refused.update(packages)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _hide()


def trusted_import(name: str) -> ModuleType:
    """A module for a check's own use, withheld or not. It must import all it needs when it is imported itself."""
    if name not in _held:
        token = _trusted.set(True)
        try:
            _held[name] = importlib.import_module(name)
        finally:
            _trusted.reset(token)
            _hide()
    return _held[name]


def _package(name: str) -> str:
    return name.partition(".")[0]


def _hide() -> None:
    for name in [n for n in sys.modules if _package(n) in _refused]:
        del sys.modules[name]
