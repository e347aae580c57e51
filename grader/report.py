"""The report of a cohort: a static site that opens from a folder, with no network and nothing to install.

`index.html` is the cohort (who needs help, the map of learners and modules, topics, misconceptions), `topics/` has a page for
each lab (distribution, checks by difficulty and discrimination, misconceptions), `learners/` one for each learner, with what the
checks said, what was reviewed by hand, and links to the whole feedback and the executed notebook, which are copied beside it.
What learners wrote goes in as escaped text alone; the only script sorts and filters tables, and no page needs it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from grader.collect import safe_name
from grader.files import write_whole
from grader.gradebook import Gradebook
from grader.pages import beside, page_of
from grader.progress import Meter
from workshop.errors import UsageError
from workshop.render import COLOURS, SIGNS, number
from workshop.topics import load_checks, planned_topic, syllabus

LEARNERS_AT_ONCE = 50
SHOWN, PAIRS = 25, 200  # rows of a list on the first page; pairs on theirs
BINS = 10
# A learner's topics as a strip of squares: nothing, 0 points, ... all points. Ends of cividis, which reads in grey as well.
SCALE = ((0, 34, 78), (55, 67, 108), (101, 105, 112), (144, 142, 120), (191, 180, 106), (254, 232, 56))
NONE = (200, 204, 208)

_MARKS = """
select learner, topic, points, max_points, late_minutes, attempts
from marks
order by learner, topic
"""
_OF_LEARNERS = """
select m.learner, m.topic, m.points, m.max_points, m.raw_points, m.late_minutes, m.attempts, s.job_key, r.status,
  count(c.job_key) as checks, count(*) filter (c.outcome = 'passed') as passed
from marks m
left join submissions s on s.submission_id = m.counted_submission
left join runs r using (job_key)
left join check_results c using (job_key)
where m.learner in (select unnest(?::varchar[]))
group by all
order by m.learner, m.topic
"""
_NOT_PASSED = """
select m.learner, m.topic, c.task, c.title, c.outcome, c.points, c.max_points, c.message, c.ask, c.misconception
from marks m
join submissions s on s.submission_id = m.counted_submission
join check_results c using (job_key)
where m.learner in (select unnest(?::varchar[])) and c.outcome <> 'passed'
order by m.learner, m.topic, c.task, c.rowid
"""
_WHY = """
select m.learner, m.topic, f.level, f.text
from marks m
join submissions s on s.submission_id = m.counted_submission
join findings f using (job_key)
where m.learner in (select unnest(?::varchar[])) and f.level <> 'note'
order by m.learner, m.topic, f.position
"""
_REVIEWS = """
select learner, topic, task, criterion, points, max_points, comment
from reviews
where learner in (select unnest(?::varchar[]))
order by learner, topic, task, rowid
"""


def report(
    book_path: Path,
    out: Path,
    *,
    pages: Path | None = None,
    title: str | None = None,
) -> int:
    """Writes the report of a gradebook into the folder ``out``; returns the number of pages. ``pages``: the folder with learners'
    feedback that grading made (default: beside the book, where it is).

    Raises WorkshopError for a book that cannot be read or whose marks have not been worked out, UsageError for a folder that is
    not empty and no report.
    """
    folder = pages if pages is not None else beside(book_path)
    if pages is not None and not folder.is_dir():
        raise UsageError(f"There is no folder {folder} with pages.")
    with Gradebook.read(book_path) as book:
        book.require_settled()
        _prepare(out)
        site = _Site(book, out, folder if folder.is_dir() else None, title or syllabus().course["title"])
        with Meter() as meter:
            return site.write(meter)


def _prepare(out: Path) -> None:
    """Makes the folder; one that holds something else is left alone."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; a report is a folder. Name another one.")
    if out.is_dir() and any(out.iterdir()) and not (out / STAMP).exists():
        raise UsageError(f"{out} holds something that is no report. Name another folder, or empty it.")
    (out / "alike.html").unlink(missing_ok=True)
    for name in ("topics", "learners"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    (out / STAMP).touch()


STAMP = ".report"


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "site"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "percent": lambda v: "-" if v is None else f"{v:.0%}"}
    script = (Path(__file__).parent / "site" / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals |= {"script": script, "script_digest": digest, "colours": COLOURS, "signs": SIGNS}
    return made


def strip(shares: Sequence[float | None]) -> str:
    """A row of squares, one a topic, as the data of a PNG in base64; None is grey."""
    ends = np.asarray(SCALE, float)
    at = np.array([np.nan if s is None else min(max(s, 0.0), 1.0) for s in shares]) * (len(ends) - 1)
    low = np.nan_to_num(np.floor(at)).clip(0, len(ends) - 2).astype(int)
    part = (np.nan_to_num(at) - low)[:, None]
    colours = ends[low] * (1 - part) + ends[low + 1] * part
    colours[np.isnan(at)] = NONE
    held = io.BytesIO()
    Image.fromarray(colours.round().astype(np.uint8)[None, :, :], "RGB").save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def bins(shares: Iterable[float]) -> list[int]:
    """How many shares lie in each tenth; 1 belongs to the last."""
    counts = [0] * BINS
    for share in shares:
        counts[min(int(share * BINS), BINS - 1)] += 1
    return counts


class _Site:
    def __init__(self, book: Gradebook, out: Path, pages: Path | None, title: str) -> None:
        self.book, self.out, self.pages, self.title = book, out, pages, title
        self.marks: dict[str, dict[str, tuple[Any, ...]]] = {}
        for learner, topic, *mark in book.select(_MARKS):
            self.marks.setdefault(learner, {})[topic] = tuple(mark)
        self.topics = [t for t in syllabus().topics if any(t.id in of for of in self.marks.values())]
        self.places = _places(self.marks)
        self.written = 0

    def write(self, meter: Meter) -> int:
        """Writes all pages; returns how many."""
        meter.start(len(self.topics) + len(self.marks) + 1, 0)
        self._page("index.html", "index.html", root="", **self._cohort())
        meter.advance(1)
        checks = _grouped(self.book.select("from hardest_checks order by topic, task, check_name").dicts(), "topic")
        misconceptions = _grouped(self.book.select("from common_misconceptions").dicts(), "topic")
        for item in self.topics:
            self._topic(item, checks.get(item.id, []), misconceptions.get(item.id, []))
            meter.advance(1)
        pairs = self.book.select(f"from alike order by shared desc, topic, learner_a, learner_b limit {PAIRS}").dicts()
        if pairs:
            for p in pairs:
                p["passages"] = json.loads(p["passages"])
            self._page("alike.html", "alike.html", root="", pairs=pairs, places=self.places)
        names = list(self.marks)
        for begin in range(0, len(names), LEARNERS_AT_ONCE):
            for name, sections in self._sections(names[begin : begin + LEARNERS_AT_ONCE]):
                self._learner(name, sections)
                meter.advance(1)
        return self.written

    def _page(self, template: str, place: str, **values: Any) -> None:
        text = _environment().get_template(template).render(course=self.title, **values)
        write_whole(self.out / place, text)
        self.written += 1

    def _share(self, learner: str, topics: Sequence[str]) -> float | None:
        got = [self.marks[learner][t] for t in topics if t in self.marks[learner]]
        most = sum(m[1] or 0 for m in got)
        return sum(m[0] or 0 for m in got) / most if most else None

    def _cohort(self) -> dict[str, Any]:
        modules = [m for m in syllabus().modules if any(t in self.topics for t in m.topics)]
        of_module = {m.number: [t.id for t in m.topics] for m in modules}
        everything = [t.id for t in self.topics]
        learners = []
        for name, place in self.places.items():
            shares = [None if t not in self.marks[name] else self._share(name, [t]) for t in everything]
            learners.append(
                {
                    "name": name,
                    "place": place,
                    "share": self._share(name, everything),
                    "modules": [self._share(name, of_module[m.number]) for m in modules],
                    "strip": strip(shares),
                    "done": sum(s is not None for s in shares),
                }
            )
        topics = []
        for item in self.topics:
            shares = [s for name in self.marks if (s := self._share(name, [item.id])) is not None]
            late = sum(bool(of[item.id][2]) for of in self.marks.values() if item.id in of)
            topics.append({"topic": item, "n": len(shares), "bins": bins(shares), "late": late,
                           "mean": float(np.mean(shares)) if shares else None})  # fmt: skip
        help_wanted = _by_need(self.book.select("from needs_help").dicts())
        alike = self.book.select("from alike_learners").dicts()
        human = self.book.select("select count(*) from runs where needs_a_human").value()
        return {
            "learners": learners, "topics": topics, "modules": modules, "help": help_wanted, "shown": SHOWN, "alike": alike,
            "misconceptions": self._said(self.book.select(f"from common_misconceptions limit {SHOWN}").dicts()),
            "places": self.places, "human": human, "count": len(everything),
        }  # fmt: skip

    def _said(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Misconceptions with the words that the lab has for them."""
        for row in rows:
            row["words"] = _words(row["topic"]).get(row["misconception"], "")
        return rows

    def _topic(self, item: Any, checks: list[dict[str, Any]], misconceptions: list[dict[str, Any]]) -> None:
        got = [(name, of[item.id]) for name, of in self.marks.items() if item.id in of]
        shares = [m[0] / m[1] for _, m in got if m[0] is not None and m[1]]
        rows = sorted(got, key=lambda g: (g[1][0] is not None, g[1][0] or 0, g[0]))
        self._page("topic.html", f"topics/{item.id}.html", root="../", item=item, bins=bins(shares), n=len(shares),
                   checks=checks, misconceptions=self._said(misconceptions), rows=rows, places=self.places)  # fmt: skip

    def _sections(self, names: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """By learner, what stands on the page, a section for each topic; of a few learners at a time."""
        failed = _grouped(self.book.select(_NOT_PASSED, names).dicts(), "learner", "topic")
        why = _grouped(self.book.select(_WHY, names).dicts(), "learner", "topic")
        reviews = _grouped(self.book.select(_REVIEWS, names).dicts(), "learner", "topic")
        sections = self.book.select(_OF_LEARNERS, names).dicts()
        for name, rows in groupby(sections, key=lambda r: r["learner"]):
            made = []
            for row in rows:
                key = (name, row["topic"])
                item = planned_topic(row["topic"])
                for c in failed.get(key, []):
                    c["words"] = _words(row["topic"]).get(c["misconception"], "")
                files = self._files(name, item, row["job_key"])
                made.append(row | {"item": item, "failed": failed.get(key, []), "why": why.get(key, []),
                                   "reviews": reviews.get(key, []), "files": files})  # fmt: skip
            yield name, made

    def _files(self, learner: str, item: Any, job_key: str | None) -> list[str]:
        """Feedback and executed notebook of the submission that counts, beside the learner's page: their places from there."""
        place = page_of(self.pages, learner, item, job_key)
        found = []
        for name in ("feedback.html", "executed.ipynb"):
            if place is not None and (place / name).is_file():
                there = f"{self.places[learner]}/{item.id}"
                (self.out / "learners" / there).mkdir(parents=True, exist_ok=True)
                _copy(place / name, self.out / "learners" / there / name)
                found.append(f"{there}/{name}")
        return found

    def _learner(self, name: str, sections: list[dict[str, Any]]) -> None:
        points, most = (sum(s[k] or 0 for s in sections) for k in ("points", "max_points"))
        self._page("learner.html", f"learners/{self.places[name]}.html", root="../", name=name, sections=sections,
                   points=points, most=most)  # fmt: skip


REASONS = {"not graded": 4, "stuck": 3, "behind": 2, "missing": 1}  # how much each weighs


def _by_need(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of needs_help as one a learner: by reason the topics; whoever needs most comes first."""
    found = []
    for learner, mine in _grouped(rows, "learner").items():
        by_reason = {r: [m["topic"] for m in mine if m["reason"] == r] for r in REASONS}
        found.append({"learner": learner, "reasons": {r: t for r, t in by_reason.items() if t},
                      "weight": sum(REASONS[m["reason"]] for m in mine)})  # fmt: skip
    return sorted(found, key=lambda f: (-f["weight"], f["learner"]))


def _places(learners: Iterable[str]) -> dict[str, str]:
    """A file name for each learner, another one each, whatever the names are."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in learners:
        place = safe_name(name)
        if place.casefold() in taken:
            place = f"{place}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        taken.add(place.casefold())
        found[name] = place
    return found


def _copy(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, place)


def _grouped(rows: list[dict[str, Any]], *keys: str) -> dict[Any, list[dict[str, Any]]]:
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[keys[0]] if len(keys) == 1 else tuple(row[k] for k in keys), []).append(row)
    return found


@cache
def _words(topic_id: str) -> Mapping[str, str]:
    """What a lab says about each of its misconceptions; nothing for a lab that is not there."""
    item = planned_topic(topic_id)
    return load_checks(item).misconceptions if item.exists else {}
