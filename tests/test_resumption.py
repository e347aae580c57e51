"""Killed at random moments, a real cohort ends in the book of one that nobody disturbed, row for row."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from clusters import Cluster
from conftest import lab_bytes
from killing import GRADER, JOB, KERNEL, SANDBOX, STABLE, kill_one, run_and_kill, victims

from grader.bank import answers
from grader.certify import certified_pools, load_secret
from grader.gradebook import Gradebook
from grader.sample import notebook_with
from workshop.topics import Topic, syllabus, topic

COURSE = "round: resumption\nseeds: {pool: 1, per: course}\n"
KILLS = 20
PLACE = "03_orchestration/06_idempotent_processing.ipynb"


def holds(item: Topic, seed: bytes, scale: float) -> list[str]:
    """A contract without breaches."""
    return []


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with submissions/, course.yaml and the book of an undisturbed run."""
    folder = tmp_path_factory.mktemp("cohort")
    item = topic("3.6")
    wrong = [a for a in answers(item) if not a.right]
    works = {
        "ada": lab_bytes(),
        "ben": lab_bytes(solved=False),
        "cid": lab_bytes({3: "import os; os._exit(1)"}, solved=False),
        "dot": nbformat.writes(notebook_with(item, {wrong[0].task: wrong[0].source})).encode(),
        "eve": b"no notebook",
        "fay": lab_bytes({-1: "x = 1"}),
        "gil": lab_bytes({2: "1 / 0"}, solved=False),
    }
    works |= {
        f"{learner}-again": lab_bytes({-1: f"{n}"}) for n, learner in enumerate(list(works))
    }  # long enough to be killed
    for learner, data in works.items():
        path = folder / "submissions" / learner / PLACE
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        os.utime(path, (1_800_000_000, 1_800_000_000))
    (folder / "course.yaml").write_text(COURSE)
    # That the contract holds is tested elsewhere, and takes ten seconds a seed.
    about = {"secret": load_secret(), "round": "resumption", "scale": syllabus().course["grading_scale"]}
    certified_pools([item], 1, **about, certify=holds)
    assert subprocess.run(command(folder, "undisturbed"), capture_output=True, check=False).returncode == 0
    return folder


def command(folder: Path, book: str, *options: str) -> list[str]:
    """The command that grades the cohort into a book."""
    given = [
        str(folder / "submissions"),
        "--out",
        str(folder / f"{book}.duckdb"),
        "--course",
        str(folder / "course.yaml"),
    ]
    return [sys.executable, "-m", "grader", "cohort", *given, "--jobs", "2", *options]


def test_killed_at_random_moments_the_book_is_that_of_an_undisturbed_run(cohort: Path) -> None:
    """Twenty kills of four kinds at least. How many there are in one run depends on how fast the machine is: where one
    was too few, others follow, each with a book of its own."""
    rng, killed = random.Random(1), []
    for book in ("killed", "killed-again", "killed-once-more"):

        def start(book: str = book) -> subprocess.Popen[bytes]:
            return subprocess.Popen(command(cohort, book), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        wanted = max(5, KILLS - len(killed))
        killed += run_and_kill(start, wanted, [GRADER, STABLE, SANDBOX, JOB, KERNEL], rng, most_s=400)
        assert compare(cohort, book)
        if len(killed) >= KILLS and len(set(killed)) >= 4:
            return
    pytest.fail(f"three runs, and too few were killed: {killed}")


def test_a_cluster_whose_processes_are_killed_makes_the_same_book(cohort: Path, tmp_path: Path) -> None:
    """Workers, scheduler, and whatever runs under a worker, each worker with a folder and a home of its own."""
    rng, killed = random.Random(3), []
    for book in ("cluster", "cluster-again", "cluster-once-more"):
        killed += _run_and_kill_in_cluster(cohort, book, tmp_path / book, max(5, KILLS - len(killed)), rng)
        assert compare(cohort, book)
        if len(killed) >= KILLS and len(set(killed)) >= 3:
            return
    pytest.fail(f"three runs, and too few were killed: {killed}")


def _run_and_kill_in_cluster(cohort: Path, book: str, place: Path, kills: int, rng: random.Random) -> list[str]:
    """Grades the cohort on a cluster of two workers; returns what was killed meanwhile."""
    cluster = Cluster(place, {})
    cluster.start_scheduler()
    for name in ("one", "two"):
        cluster.start_worker(name)
    killed: list[str] = []
    with open(place / "said", "w+") as said:
        process = subprocess.Popen(command(cohort, book, "--dask", cluster.address), stdout=said, stderr=said)
        try:
            until = time.monotonic() + 400
            while process.poll() is None and time.monotonic() < until:
                time.sleep(rng.uniform(0.3, 2.0))
                if len(killed) < kills and (kind := _kill_in(cluster, rng)):
                    killed.append(kind)
                cluster.restart_dead()
        finally:
            ended = process.poll()
            process.kill()
            cluster.close()
        said.seek(0)
        assert ended == 0, f"{said.read()}\n{cluster.last_words()}"
    return killed


def _kill_in(cluster: Cluster, rng: random.Random) -> str | None:
    """Kills one process of the cluster. The scheduler only while it has work under way: killed over and over while it still
    starts, which on a busy machine takes longer than the pause between kills, it would be a scheduler that is gone for good."""
    kind = rng.choice(["scheduler", "worker", "inner", "inner"])
    workers = list(cluster.workers.values())
    if kind == "scheduler":
        if not any(JOB in victims(worker.pid) for worker in workers):
            return None
        cluster.scheduler.kill()
        return kind
    return kill_one(rng.choice(workers).pid, [GRADER] if kind == "worker" else [STABLE, SANDBOX, JOB, KERNEL], rng)


def test_a_graded_cohort_ends_in_a_report_whose_links_lead_somewhere(cohort: Path) -> None:
    """From the book and the pages that grading leaves, without a word about where they are."""
    book = cohort / "undisturbed.duckdb"
    done = subprocess.run([sys.executable, "-m", "grader", "report", book], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site = cohort / "undisturbed.report"
    todo, seen = [site / "index.html"], set()
    while todo:
        page = todo.pop()
        seen.add(page)
        for link in re.findall(r'<a [^>]*href="([^"#]+)', page.read_text(encoding="utf-8")):
            target = Path(os.path.normpath(page.parent / unquote(link)))
            assert target.is_file(), f"{page.name} leads to {link}"
            if target.suffix != ".html":
                seen.add(target)
            elif target not in seen:
                todo.append(target)
    names = [p.name for p in seen]
    assert names.count("feedback.html") >= 10 and names.count("executed.ipynb") >= 8, names


def compare(folder: Path, book: str) -> bool:
    """Asserts that two books have the same rows."""
    want = Gradebook.rows_for_comparison(folder / "undisturbed.duckdb")
    got = Gradebook.rows_for_comparison(folder / f"{book}.duckdb")
    for table, rows in want.items():
        assert got[table] == rows, table
    return True
