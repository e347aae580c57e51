"""From a folder to submissions: which file is whose, for which lab, handed in when.

The files are a stranger's. No link is followed, nothing but a plain file is opened, and of that no more is read than is
graded. What is none of these becomes a submission that is refused with a finding. Only names and times are kept here;
a notebook's bytes are read when their turn comes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from grader.findings import Refused
from grader.limits import Limits
from workshop.errors import UsageError
from workshop.topics import Topic, syllabus

DEFAULT_PATTERN = "{learner}/{module}/{topic}.ipynb"
FIELDS = ("learner", "module", "topic", "id", "attempt", "submitted")
TOKEN = re.compile(r"\{(\w*)\}|(\*+)|([^{}*]+)|(.)")
NAMES_A_LAB = re.compile(rb"""open_lab\(\s*\\?["'](\d+\.\d+)\\?["']""")
READ_BYTES = 8 * 2**20  # a notebook as Python objects takes thirty times what it takes as a file
EXAMPLES = 3
LOOKED_AT = 2000
NAME_BYTES = 70

REFUSALS = {
    "link": "What was handed in is a link to something else, and links are not followed. Hand in the .ipynb file itself.",
    "not_a_file": "What was handed in is no file (a folder, a pipe or a device). Hand in the .ipynb file itself.",
    "unreadable": "The file could not be read. Hand it in again.",
}


@dataclass(frozen=True)
class Submission:
    """One file handed in. ``parts``: its path below the folder, as the system names it; ``topic``: id of the lab that the
    path names, None where the notebook must say; ``attempt``: empty where the layout has none; ``submitted``: in UTC;
    ``refusal``: a key of REFUSALS for what is no plain file, else None."""

    parts: tuple[str, ...]
    learner: str
    topic: str | None
    attempt: str
    submitted: datetime
    refusal: str | None

    @property
    def path(self) -> str:
        """Its path below the folder, as text."""
        return "/".join(map(_text, self.parts))


@dataclass(frozen=True)
class Collection:
    """What a folder holds: submissions by path, and the names of notebooks and folders that do not fit the pattern."""

    folder: Path
    submissions: tuple[Submission, ...]
    left_out: tuple[str, ...]


def collect(folder: Path, pattern: str | None = None) -> Collection:
    """Looks through a folder. ``pattern`` says what a path means; ``*`` in it stands for anything within one part.

    Raises UsageError for a folder that is none, for a pattern that cannot be read and for one that nothing matches.
    """
    layout = _Layout(pattern or DEFAULT_PATTERN)
    left_out: list[str] = []
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"{folder} is no folder that can be read ({error.strerror}).") from None
    try:
        found = sorted(_walk(root, layout, (), left_out), key=lambda s: s.parts)
    finally:
        os.close(root)
    if not found:
        raise UsageError(_nothing(folder, layout.pattern))
    return Collection(folder, tuple(found), tuple(sorted(left_out)))


def read(folder: Path, submission: Submission, limits: Limits) -> bytes:
    """The bytes of a submission, at most one more than are graded. Raises Refused for what is no plain file."""
    if submission.refusal:
        raise _refused(submission.refusal)
    with contextlib.ExitStack() as stack:
        try:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, at)
            for part in submission.parts[:-1]:
                at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                stack.callback(os.close, at)
            kind = _kind(os.stat(submission.parts[-1], dir_fd=at, follow_symlinks=False).st_mode)
            if kind:  # it was a file when it was found
                raise _refused(kind)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            handle = stack.enter_context(open(os.open(submission.parts[-1], flags, dir_fd=at), "rb"))
            kind = _kind(os.fstat(handle.fileno()).st_mode)
            if kind:
                raise _refused(kind)
            return handle.read(limits.notebook_bytes + 1)
        except OSError:
            raise _refused("unreadable") from None


def topic_of(data: bytes, limits: Limits) -> str:
    """The id of the lab that a notebook names. Raises Refused for what is no notebook of a lab.

    Most name one lab in one way, and a look at the bytes tells; the others are read as the grader reads them.
    """
    known = {t.id for t in _written()}
    named = {m.decode() for m in NAMES_A_LAB.findall(data)}
    if len(named) == 1 and named <= known:
        return named.pop()
    if len(data) > READ_BYTES:
        raise Refused(
            "no_lab",
            f"The file has {len(data) / 1e6:.0f} MB and does not say plainly of which lab it is. Clear the outputs (Kernel, "
            "Restart Kernel and Clear Outputs) and hand it in again.",
        )
    from grader import validate

    return validate.read(data, limits).topic.id


def safe_name(text: str) -> str:
    """A name for a file or folder on any system: letters, digits and ``-_.@``, at most 80 bytes. Distinct texts have
    distinct names: one that had to be changed, or looks as if it had been, ends in a digest."""
    plain = "".join(c if c in "-_.@" or unicodedata.category(c)[0] in "LNM" else "_" for c in text).strip(".-")
    while len(plain.encode()) > NAME_BYTES:
        plain = plain[:-1]
    if plain and plain == text and not re.search(r"-[0-9a-f]{8}$", plain):
        return plain
    return f"{plain or '_'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


# -- the pattern ---------------------------------------------------------------------------------------------------------


class _Layout:
    """A pattern, ready to be matched part by part."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        parts = pattern.split("/")
        if any(p in {"", ".", ".."} for p in parts):
            raise _bad(pattern, "each part between two / needs a name")
        names: list[str] = []
        self.parts = [_compiled(part, pattern, names) for part in parts]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise _bad(pattern, f"{{{twice[0]}}} stands twice")
        if "learner" not in names:
            raise _bad(pattern, "it lacks {learner}")

    def match(self, name: str, depth: int) -> dict[str, str] | None:
        """The fields that a name at ``depth`` gives; None where it does not fit."""
        found = self.parts[depth].fullmatch(name)
        if found is None:
            return None
        fields = found.groupdict()
        if "submitted" in fields and _time(fields["submitted"]) is None:
            return None
        return fields


def _bad(pattern: str, why: str) -> UsageError:
    known = ", ".join(f"{{{f}}}" for f in FIELDS)
    return UsageError(
        f"The pattern {pattern!r} cannot be used: {why}. It is a path such as {DEFAULT_PATTERN}, made of {known} "
        "(each once at most, {learner} always) and *, which stands for anything within a part."
    )


def _compiled(part: str, pattern: str, names: list[str]) -> re.Pattern[str]:
    out = []
    for name, star, text, other in TOKEN.findall(part):
        if other or (not name and not star and not text):
            raise _bad(pattern, "its braces do not fit together")
        if name and name not in FIELDS:
            raise _bad(pattern, f"there is no field {{{name}}}")
        if name in names:
            raise _bad(pattern, f"{{{name}}} stands twice")
        if name:
            names.append(name)
            out.append(f"(?P<{name}>{_field(name)})")
        else:
            out.append(".*" if star else re.escape(text))
    return re.compile("".join(out), re.DOTALL)


def _field(name: str) -> str:
    """What a field may be. A learner's name takes as much as it can: what separates fields may stand in it too."""
    if name == "module":
        return "|".join([*(re.escape(m.folder) for m in syllabus().modules), ".+?"])
    if name == "topic":
        return "|".join([*(re.escape(t.folder) for t in syllabus().topics), ".+?"])
    return {
        "learner": ".+",
        "id": "|".join(re.escape(t.id) for t in syllabus().topics),
        "attempt": ".+?",
        "submitted": r"\d{4}-?\d\d-?\d\dT\d\d:?\d\d(?::?\d\d)?Z?",
    }[name]


def _time(text: str) -> datetime | None:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    return None


# -- the folder ----------------------------------------------------------------------------------------------------------


def _walk(
    at: int, layout: _Layout, above: tuple[tuple[str, dict[str, str]], ...], left_out: list[str]
) -> Iterator[Submission]:
    """All submissions in the folder open as ``at``; ``above``: (name, fields) of the folders on the way to it."""
    parts = tuple(name for name, _ in above)
    last = len(above) == len(layout.parts) - 1
    with os.scandir(at) as entries:
        names = [e.name for e in entries if not e.name.startswith(".")]
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            about = os.stat(name, dir_fd=at, follow_symlinks=False)
            fields = layout.match(name, len(above))
            is_folder = stat.S_ISDIR(about.st_mode)
            if fields is None or not (last or is_folder or stat.S_ISLNK(about.st_mode)):
                if is_folder or name.endswith(".ipynb"):
                    left_out.append("/".join(map(_text, (*parts, name))))
            elif is_folder and not last:
                below = _open_folder(name, at)
                if below is None:
                    left_out.append("/".join(map(_text, (*parts, name))))
                    continue
                try:
                    yield from _walk(below, layout, (*above, (name, fields)), left_out)
                finally:
                    os.close(below)
            else:
                given = functools.reduce(lambda a, b: a | b, (f for _, f in above), {}) | fields
                if "learner" in given:
                    yield _submission((*parts, name), given, about)
                else:  # a link where a folder should be, above the one that names the learner
                    left_out.append("/".join(map(_text, (*parts, name))))


def _open_folder(name: str, at: int) -> int | None:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except OSError:
        return None


def _submission(parts: tuple[str, ...], fields: dict[str, str], about: os.stat_result) -> Submission:
    item = _topic(fields)
    return Submission(
        parts=parts,
        learner=_text(fields["learner"]),
        topic=item.id if item else None,
        attempt=_text(fields.get("attempt", "")),
        submitted=_time(fields["submitted"]) if "submitted" in fields else _modified(about.st_mtime),
        refusal=_kind(about.st_mode),
    )


def _topic(fields: dict[str, str]) -> Topic | None:
    """The lab that a path names, if it names one: LMS and browsers rename files, and then the notebook says."""
    if not {"topic", "id"} & fields.keys():
        return None
    found = [
        t
        for t in _written()
        if fields.get("id", t.id) == t.id
        and fields.get("topic", t.folder) == t.folder
        and fields.get("module", t.module) == t.module
    ]
    return found[0] if len(found) == 1 else None


@functools.cache
def _written() -> tuple[Topic, ...]:
    return tuple(t for t in syllabus().topics if t.exists)


def _modified(mtime: float) -> datetime:
    try:
        return datetime.fromtimestamp(int(mtime), UTC)
    except (ValueError, OverflowError, OSError):  # a time that no file was modified at
        return datetime.fromtimestamp(0, UTC)


def _kind(mode: int) -> str | None:
    """A key of REFUSALS for what is no plain file."""
    if stat.S_ISREG(mode):
        return None
    return "link" if stat.S_ISLNK(mode) else "not_a_file"


def _refused(kind: str) -> Refused:
    return Refused(kind, REFUSALS[kind])


def _text(name: str) -> str:
    """A name as text: bytes that are no UTF-8 are shown as such, accents written in two ways are one name."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def _nothing(folder: Path, pattern: str) -> str:
    there: list[str] = []
    looked = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        looked += len(files) + 1
        names = [os.path.relpath(os.path.join(place, f), folder) for f in sorted(files) if not f.startswith(".")]
        there += [_text(n) for n in names]
        if len(there) >= EXAMPLES or looked > LOOKED_AT:
            break
    said = f"There is, for example: {_listed(there)}." if there else "It holds no files."
    return f"Nothing in {folder} matches the pattern {pattern}. {said} Say with --pattern how paths are made."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(n if len(n) <= 120 else n[:117] + "...") for n in names[:EXAMPLES])
