"""Answers that are unusually alike: a hint for a human, never a mark.

By winnowing (S. Schleimer, D. Wilkerson, A. Aiken, *Winnowing: Local Algorithms for Document Fingerprinting*, SIGMOD 2003), which
Moss uses: the code is read as tokens, in which names that a learner may choose are all alike and words in strings (SQL) stay;
every run of RUN tokens has a hash, and of WINDOW hashes in a row the least is a fingerprint. What is copied over RUN + WINDOW - 1
tokens shares one, however its names were changed. Fingerprints of what the lab gave, its solution included, do not count, nor
do those that many learners have.
"""

from __future__ import annotations

import hashlib
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from grader import validate
from grader.collect import Submission, collect, read
from grader.findings import Refused
from grader.gradebook import Gradebook
from grader.limits import Limits
from workshop.authoring import compose
from workshop.topics import topic

RUN, WINDOW = 10, 8  # tokens, hashes
MANY, MANY_SHARE = 8, 0.05  # what more learners than this have is common, and says nothing
LEAST_SHARED, LEAST_LIKENESS = 8, 0.4
PASSAGE_LINES = 60  # of a passage that is kept

_LEXED = re.compile(
    r"#[^\n]*|(?P<text>\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|"
    r"(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<sign>[^\s\w])",
    re.DOTALL,
)
_IN_TEXT = re.compile(r"\w+|[^\s\w]")
KEPT = frozenset(keyword.kwlist) | {
    "range",
    "len",
    "sorted",
    "sum",
    "min",
    "max",
    "set",
    "dict",
    "list",
    "tuple",
    "zip",
    "print",
}


@dataclass(frozen=True)
class Prints:
    """The fingerprints of a text: by hash the token where it begins; ``lines``: of each token its line, from 0."""

    at: dict[int, int]
    lines: Sequence[int]
    text: Sequence[str]


def tokens(code: str) -> list[tuple[str, int]]:
    """(token, line) of Python, whether it can be parsed or not."""
    found: list[tuple[str, int]] = []
    breaks, line = [m.start() for m in re.finditer("\n", code)], 0

    def add(token: str, place: int) -> None:
        nonlocal line
        while line < len(breaks) and breaks[line] < place:
            line += 1
        found.append((token, line))

    for m in _LEXED.finditer(code):
        if m["text"]:
            for inner in _IN_TEXT.finditer(code, m.start(), m.end()):
                add(inner[0].lower(), inner.start())
        elif m["name"]:
            add(m["name"] if m["name"] in KEPT else "N", m.start())
        elif m["number"]:
            add("0", m.start())
        elif m["sign"]:
            add(m["sign"], m.start())
    return found


def runs(lexed: Sequence[tuple[str, int]]) -> list[int]:
    """The hash of each run of RUN tokens."""
    words = [t for t, _ in lexed]
    return [
        int.from_bytes(
            hashlib.blake2b("\0".join(words[i : i + RUN]).encode("utf-8", "replace"), digest_size=8).digest()
        )
        for i in range(len(words) - RUN + 1)
    ]


def fingerprints(code: str) -> Prints:
    """The fingerprints of a learner's code."""
    lexed = tokens(code)
    hashes = runs(lexed)
    at: dict[int, int] = {}
    for begin in range(max(len(hashes) - WINDOW + 1, min(1, len(hashes)))):
        window = hashes[begin : begin + WINDOW]
        least = min(window)
        place = begin + len(window) - 1 - window[::-1].index(least)  # of equal ones the last
        at.setdefault(least, place)
    return Prints(at, [line for _, line in lexed], code.splitlines())


def given(topic_id: str) -> set[int]:
    """Hashes of all that a lab gives: what is handed out, and its solution."""
    item = topic(topic_id)
    return {h for kind in ("labs", "solutions") for h in runs(tokens(code_of(compose(item, kind).cells)))}


def code_of(cells: Iterable[Any]) -> str:
    """The code cells of a notebook, one after the other."""
    return "\n".join(c.source for c in cells if c.cell_type == "code")


def pairs(prints: dict[str, Prints], lab: set[int]) -> list[dict[str, Any]]:
    """Pairs of learners that are unusually alike in one lab, most alike first: learner_a, learner_b, likeness, shared,
    passages."""
    own = {name: set(p.at) - lab for name, p in prints.items()}
    holders: dict[int, list[str]] = {}
    for name in sorted(own):
        for h in own[name]:
            holders.setdefault(h, []).append(name)
    most = max(MANY, MANY_SHARE * len(prints))
    common = {h for h, names in holders.items() if len(names) > most}
    counts: Counter[tuple[str, str]] = Counter()
    for h, names in holders.items():
        if h not in common:
            counts.update(combinations(names, 2))
    found = []
    for (a, b), shared in counts.items():
        fewer = min(len(own[a] - common), len(own[b] - common))
        if shared >= LEAST_SHARED and shared >= LEAST_LIKENESS * fewer:
            both = (own[a] & own[b]) - common
            found.append({"learner_a": a, "learner_b": b, "likeness": shared / fewer, "shared": shared,
                          "passages": passages(prints[a], prints[b], both)})  # fmt: skip
    return sorted(found, key=lambda f: (-f["shared"], f["learner_a"], f["learner_b"]))


def passages(a: Prints, b: Prints, both: set[int]) -> list[dict[str, Any]]:
    """Where two texts share fingerprints: the lines of each, as first line (from 1) and text; the longest first."""
    found: list[list[int]] = []  # first and last token in a, the same in b
    reach = RUN + WINDOW
    for at_a, at_b in sorted((a.at[h], b.at[h]) for h in both):
        last = found[-1] if found else None
        if last and at_a - last[1] <= reach and 0 <= at_b - last[3] <= reach:
            last[1], last[3] = at_a, at_b
        else:
            found.append([at_a, at_a, at_b, at_b])

    def lines(p: Prints, first: int, last: int) -> dict[str, Any]:
        begin, end = p.lines[first], p.lines[min(last + RUN, len(p.lines)) - 1]
        return {"line": begin + 1, "text": "\n".join(p.text[begin : min(end + 1, begin + PASSAGE_LINES)])}

    found.sort(key=lambda f: (f[0] - f[1], f[0]))
    return [{"a": lines(a, f[0], f[1]), "b": lines(b, f[2], f[3])} for f in found]


def alike(
    book_path: Path, submissions: Path, *, pattern: str | None = None, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Compares the submissions that count, topic by topic, and keeps the pairs in the book's table alike (in place of those that
    were there). Returns them with their topic, most alike first. ``pattern``: as for cohort."""
    collection = collect(submissions, pattern)
    with Gradebook.open(book_path) as book:
        book.require_settled()
        counted = book.select("""
            select m.topic, m.learner, s.path, s.notebook_sha256
            from marks m
            join submissions s on s.submission_id = m.counted_submission
            join runs r using (job_key)
            where r.status = 'graded'
            order by m.topic, m.learner
        """)
        by_path = {s.path: s for s in collection.submissions}
        by_topic: dict[str, dict[str, Prints]] = {}
        gone = 0
        for topic_id, learner, path, sha in counted:
            code = _code(submissions, by_path.get(path), topic_id, sha)
            if code is None:
                gone += 1
            else:
                by_topic.setdefault(topic_id, {})[learner] = fingerprints(code)
        if gone:
            say(f"{gone} submissions are not in {submissions} as they were graded, and are left out.")
        found = [{"topic": t, **p} for t, prints in by_topic.items() for p in pairs(prints, given(t))]
        book.set_alike(found)
    return sorted(found, key=lambda f: (-f["shared"], f["topic"], f["learner_a"], f["learner_b"]))


def _code(folder: Path, submission: Submission | None, topic_id: str, sha: str) -> str | None:
    """The code of a submission; None where the file is not there as it was graded."""
    if submission is None:
        return None
    try:
        data = read(folder, submission, Limits())
        if hashlib.sha256(data).hexdigest() != sha:
            return None
        return code_of(validate.read(data, Limits(), topic_id).notebook.cells)
    except Refused:
        return None
