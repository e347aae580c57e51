"""What a capstone is made of: decisions of other labs, each the learner's own or, by the text "reference", the course's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from workshop.checks import CheckFailed, LearnerError, NotAttempted, expect
from workshop.trusted import Lab


class Decision(Protocol):
    """``name``: what it is called in the capstone's notebook; ``topic`` and ``task``: where it was written."""

    @property
    def name(self) -> str: ...

    @property
    def topic(self) -> str: ...

    @property
    def task(self) -> str: ...


def choices(lab: Lab, parts: Sequence[Decision]) -> dict[str, bool]:
    """By name, whether a part is the reference. Raises NotAttempted while nothing is decided, CheckFailed where something is
    missing or misspelt."""

    def make() -> dict[str, bool]:
        found = {part.name: _is_reference(lab, part) for part in parts}
        if all(v is None for v in found.values()):
            raise NotAttempted("Not attempted yet.")
        missing = [name for name, v in found.items() if v is None]
        expect(not missing, f'Nothing is decided about {", ".join(missing)}. Each is your own or "reference".')
        return {name: bool(v) for name, v in found.items()}

    return lab.once("choices", make)


def _is_reference(lab: Lab, part: Decision) -> bool | None:
    """Whether a part is the reference; None where it is still to be decided."""
    try:
        value = lab.value(part.name)
    except NotAttempted:
        return None
    except LearnerError as error:
        if error.error_type == "CodecError":
            return False  # a function cannot be handed over
        raise
    if isinstance(value, str):
        expect(
            value.strip().lower() == "reference",
            f'{part.name} is the text {value[:40]!r}. Write {part.name} = "reference", or bring your own of lab {part.topic}, '
            f"task {part.task}.",
        )
        return True
    return False


def named(part: Decision, make: Callable[[], Any]) -> Any:
    """What ``make`` finds the learner's own part to do; a failure says of which part it is."""
    try:
        return make()
    except NotAttempted:
        raise CheckFailed(
            f"{part.name} is still the stub of lab {part.topic}. Bring what you wrote there, or write "
            f'{part.name} = "reference".'
        ) from None
    except CheckFailed as failed:
        failed.message = f"{part.name} (lab {part.topic}, task {part.task}): {failed.message}"
        raise
