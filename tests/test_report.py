"""The report opens from a folder in a real browser, by keyboard and for a screen reader, and is quick for a large cohort.

Screenshots are kept in test-results/ for people to look at.
"""

import json
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from cohorts import make_book
from PIL import Image
from test_browser import CHROMIUM, SHOTS
from test_gradebook import LOST, fill, finding, job, outcome

from grader.alike import LEAST_SHARED, alike, code_of, fingerprints, given, pairs
from grader.bank import answers
from grader.course import Course
from grader.gradebook import Gradebook, HandedIn
from grader.pages import MARK
from grader.report import bins, report, strip
from grader.sample import notebook_with
from workshop.errors import UsageError, WorkshopError
from workshop.topics import topic

AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
EVIL = "<script>alert(1)</script>\"'& ../../x"


class Links(HTMLParser):
    """Where a page leads, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in {"src", "href", "srcset", "data", "action"} or name.startswith("on"):
                self.loaded.append(f"{tag} {name} {value}")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.duckdb"
    with Gradebook.open(path) as opened:
        fill(
            opened,
            ("ada", job(1), 0, outcome(job(1), 10)),
            ("ada", job(2, "2.9"), 0, outcome(job(2, "2.9"), 4, findings=(finding("frame_mended"),))),
            (EVIL, job(3), 0, outcome(job(3), 0, message=EVIL)),
            ("lost", job(4), 0, outcome(job(4), findings=LOST)),
            ("late", job(5), 0, None),
        )
        opened.select(
            "insert into reviews values ('ada', '3.6', 'a', 'clear', 1.5, 2, 'Well <argued>.', 'eve', '2026-11-20'::timestamp)"
        )
        opened.settle(Course())
    return path


def pages_of(out: Path) -> dict[str, str]:
    return {p.relative_to(out).as_posix(): p.read_text(encoding="utf-8") for p in out.rglob("*.html")}


def test_all_pages_lead_to_pages_load_nothing_and_run_nothing_of_learners(book: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    count = report(book, out)
    pages = pages_of(out)
    assert len(pages) == count == 1 + 2 + 4
    for place, text in pages.items():
        found = Links(text)
        for link in found.links:
            target = link.partition("#")[0]
            if target:
                assert ((out / place).parent / unquote(target)).resolve().is_relative_to(out.resolve())
                assert ((out / place).parent / unquote(target)).exists(), (place, link)
        assert all(loaded.startswith("img src data:image/png") for loaded in found.loaded), found.loaded
        assert text.count("<script") == 1 and "default-src 'none'" in text
        assert "alert(1)</script>" not in text.replace("&lt;/script&gt;", "")
    ada = pages["learners/ada.html"]
    assert "14 of 20 points in 2 topics" in ada and "Well &lt;argued&gt;." in ada
    assert "What is loaded twice?" in ada and "What was found." in ada
    assert "not graded yet" in pages["learners/late.html"]
    index = pages["index.html"]
    assert re.search(r"<strong>4</strong>\s*learners", index) and "not graded" in index


def test_feedback_and_notebooks_are_beside_the_page(book: Path, tmp_path: Path) -> None:
    item, pages = topic("3.6"), tmp_path / "pages"
    with Gradebook.read(book) as opened:
        key = opened.select("select job_key from submissions where learner = 'ada' and topic = '3.6'").value()
    for attempt, mark in (("1", "another job"), ("2", key)):
        place = pages / "ada" / item.module / item.folder / attempt
        place.mkdir(parents=True)
        (place / MARK).write_text(mark)
        (place / "feedback.html").write_text(f"<p>{attempt}</p>")
        (place / "executed.ipynb").write_text("{}")
    out = tmp_path / "site"
    report(book, out, pages=pages)
    assert (out / "learners/ada/3.6/feedback.html").read_text() == "<p>2</p>"
    assert 'href="ada/3.6/executed.ipynb"' in (out / "learners/ada.html").read_text()


def test_what_is_no_place_for_a_report_is_left_alone(book: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="no report"):
        report(book, tmp_path / "full")
    with pytest.raises(UsageError, match="is a file"):
        report(book, book)
    with pytest.raises(UsageError, match="no folder"):
        report(book, tmp_path / "site", pages=tmp_path / "none")
    report(book, tmp_path / "site")
    (tmp_path / "site/learners/gone.html").write_text("of a learner who has left")
    report(book, tmp_path / "site")  # a second time into the same folder
    assert not (tmp_path / "site/learners/gone.html").exists()
    with Gradebook.open(book) as opened:
        fill(opened, ("new", job(9), 0, outcome(job(9))))
    with pytest.raises(WorkshopError, match="have not been worked out"):
        report(book, tmp_path / "site")
    assert (tmp_path / "site/learners/ada.html").exists()  # what was there is left as it was


def test_shares_are_drawn_where_they_lie() -> None:
    assert bins([0, 0.09, 0.1, 0.5, 0.99, 1.0]) == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    image = Image.open(BytesIO(b64decode(strip([None, 0.0, 1.0, 2.0]))))
    assert image.size == (4, 1)
    assert [image.getpixel((x, 0)) for x in range(4)] == [(200, 204, 208), (0, 34, 78), (254, 232, 56), (254, 232, 56)]


def test_the_command_says_where_to_look_and_what_is_wrong(book: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grader", "report"]
    done = subprocess.run([*command, book], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "7 pages. Open" in done.stdout
    assert (book.with_suffix(".report") / "index.html").exists()
    for arguments, code, words in (([tmp_path / "none"], 1, "no gradebook"), ([book, "--out", book], 2, "is a file")):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no chromium on this machine (on Debian: apt-get install chromium)"
    ),
]


def in_a_browser(test):
    """Marks a test that drives a real browser."""
    for mark in BROWSER:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of forty learners on all topics, with two whose answers are alike."""
    folder = tmp_path_factory.mktemp("report")
    book = make_book(folder / "book.duckdb", 40)
    with Gradebook.open(book) as opened:
        side = {"line": 3, "text": "for row in rows:\n    total += row"}
        opened.set_alike([{"topic": "3.6", "learner_a": "learner 0001", "learner_b": "learner 0002", "likeness": 0.9,
                           "shared": 30, "passages": [{"a": side, "b": side}]}])  # fmt: skip
    report(book, folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@in_a_browser
@pytest.mark.parametrize(
    ("name", "scheme", "size"),
    [("wide", "light", (1280, 900)), ("phone", "light", (390, 844)), ("dark", "dark", (1280, 900))],
)
def test_no_barrier_is_found_and_nothing_is_wider_than_the_screen(site, browser, name, scheme, size) -> None:
    SHOTS.mkdir(exist_ok=True)
    context = browser.new_context(
        color_scheme=scheme, viewport=dict(zip(("width", "height"), size, strict=True)), bypass_csp=True
    )
    page, said = context.new_page(), []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    learner = sorted((site / "learners").glob("*.html"))[0].relative_to(site)
    for kind, place in (
        ("cohort", "index.html"),
        ("topic", "topics/3.6.html"),
        ("learner", learner),
        ("alike", "alike.html"),
    ):
        page.goto((site / place).as_uri())
        page.screenshot(path=SHOTS / f"report_{kind}_{name}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")["violations"]
        serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in {"serious", "critical"}]
        assert serious == [], json.dumps(serious, indent=1)
    assert said == []
    context.close()


@in_a_browser
def test_a_walk_by_keyboard(site, browser) -> None:
    """With its own security policy: skip link, a filter, a sorted column, a link to a learner and back."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "find":
            break
    page.keyboard.type("0007")
    assert page.locator("#found").inner_text() == "1 found"
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    for _ in range(3):  # the table itself, Learner, All
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "All"
    page.keyboard.press("Enter")
    assert page.locator("#cohort th[aria-sort=ascending]").inner_text().strip().startswith("All")
    shares = [int(t.strip("%")) for t in page.locator("#cohort tbody td:nth-child(2)").all_inner_texts()]
    assert shares == sorted(shares) and len(shares) == 40
    for _ in range(60):
        page.keyboard.press("Tab")
        if "learners/" in (page.evaluate("document.activeElement.getAttribute('href')") or ""):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/learners/*.html")
    assert "points in" in page.locator("main").inner_text()
    page.go_back()
    page.close()


# -- likeness ------------------------------------------------------------------------------------------------------------


def prints_of(item, replacements: dict[str, dict[str, str]]):
    return {name: fingerprints(code_of(notebook_with(item, cells).cells)) for name, cells in replacements.items()}


def renamed(source: str) -> str:
    """The same with other names, spaces and comments, as one does who copies."""
    names = sorted(set(re.findall(r"^\s+(?:for )?(\w{2,})(?= =| in )", source, re.MULTILINE)), key=len, reverse=True)
    for k, name in enumerate(names):
        source = re.sub(rf"\b{name}\b", f"my_{k}", source)
    return re.sub(r"#[^\n\"']*$", "# mine", source, flags=re.MULTILINE).replace("    ", "     ")


@pytest.mark.parametrize("topic_id", ["1.7", "2.5", "3.5"])
def test_copies_are_found_and_own_work_is_not(topic_id: str) -> None:
    """Right answers of one lab, written by different hands, and one of them copied with other names."""
    item = topic(topic_id)
    right = [a for a in answers(item) if a.right]
    copied = max(right, key=lambda a: len(a.source))
    work = {a.name: {a.task: a.source} for a in right} | {"copy": {copied.task: renamed(copied.source)}}
    assert work["copy"] != work[copied.name]
    found = pairs(prints_of(item, work), given(topic_id))
    assert [{p["learner_a"], p["learner_b"]} for p in found] == [{copied.name, "copy"}]
    assert found[0]["shared"] >= LEAST_SHARED and found[0]["likeness"] > 0.5
    side = found[0]["passages"][0]
    assert len(side["a"]["text"].splitlines()) >= 2 and side["a"]["line"] > 0


def test_what_the_lab_gave_and_what_all_have_is_no_likeness() -> None:
    item = topic("3.6")
    solved = {f"learner {k}": {} for k in range(4)}  # the course's own solution
    assert pairs(prints_of(item, solved), given("3.6")) == []
    copied = max((a for a in answers(item) if a.right), key=lambda a: len(a.source))
    many = {f"learner {k}": {copied.task: copied.source} for k in range(12)}
    assert pairs(prints_of(item, many), given("3.6")) == []  # twelve of twelve: told in class
    assert len(pairs(prints_of(item, dict(list(many.items())[:3])), given("3.6"))) == 3
    assert pairs({"a": fingerprints(""), "b": fingerprints("def f(:\n  '")}, set()) == []


def test_pairs_are_kept_in_the_book_and_shown(tmp_path: Path) -> None:
    item = topic("3.6")
    copied = max((a for a in answers(item) if a.right), key=lambda a: len(a.source))
    folder, path = tmp_path / "submissions", tmp_path / "book.duckdb"
    with Gradebook.open(path) as book:
        for learner, source in (("ada", copied.source), ("ben", renamed(copied.source)), ("eve", copied.source)):
            place = folder / learner / item.module / f"{item.folder}.ipynb"
            place.parent.mkdir(parents=True)
            text = nbformat.writes(notebook_with(item, {copied.task: source}))
            of = replace(job(1), notebook=text.encode())
            place.write_text(text if learner != "eve" else text + "\n\n")  # changed since it was graded
            row = HandedIn(learner, "3.6", f"{learner}/{item.module}/{item.folder}.ipynb", sha256(of.notebook).hexdigest(),
                           datetime(2026, 11, 2), of.key)  # fmt: skip
            book.add_submissions([row])
            book.record([(of, outcome(of))])
        book.settle(Course())
    said: list[str] = []
    found = alike(path, folder, say=said.append)
    assert [(p["learner_a"], p["learner_b"]) for p in found] == [("ada", "ben")]
    assert said == [f"1 submissions are not in {folder} as they were graded, and are left out."]
    assert len(alike(path, folder)) == 1  # again: in place of what was there
    with Gradebook.read(path) as book:
        assert book.select("select learner_a, learner_b, topics from alike_learners").rows == (("ada", "ben", 1),)
        assert book.select("select points from marks").column("points") == [10.0, 10.0, 10.0]
    report(path, tmp_path / "site")
    text = (tmp_path / "site/alike.html").read_text(encoding="utf-8")
    assert "ada" in text and "ben" in text and "<pre" in text
