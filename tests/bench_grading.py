"""The parts of make bench that are about grading: a cohort run against papermill with cold kernels and against the same cells
in one warm process; memory; scaling; a large cohort.

CPU of a cohort run is that of all its processes, as the system counts it for those that have ended (getrusage) in both fork
servers: what runs behind walls is a child of theirs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil

from grader import runner, sandbox
from grader.bank import answers, cells_with, run_cells
from grader.engine import Execution
from grader.forked import Forked
from grader.job import Job, sources_digest
from grader.kernels import room
from grader.limits import Limits
from grader.sample import notebook_with
from grader.sandbox import ForkServer
from workshop.topics import Topic, imports_of, load_checks, syllabus, topic
from workshop.world import ensure_world, opaque_name, practice_seed

SEED = bytes.fromhex("0123456789abcdef" * 2)
RUNS = 5
ROUNDS = 3

PAPERMILL = """
import json, logging, resource, sys, time
logging.disable(logging.CRITICAL)
sys.modules.setdefault("rfc3987_syntax", None)
import papermill
def cpu():
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
papermill.execute_notebook(sys.argv[1], sys.argv[2], progress_bar=False, cwd=sys.argv[3])
began, before = time.perf_counter(), cpu()
for _ in range(int(sys.argv[4])):
    papermill.execute_notebook(sys.argv[1], sys.argv[2], progress_bar=False, cwd=sys.argv[3])
print(json.dumps({"wall": time.perf_counter() - began, "cpu": cpu() - before}))
"""
LEAST = """
import json, sys
sys.modules.setdefault("rfc3987_syntax", None)
from tests.bench_grading import least
print(json.dumps(least(sys.argv[1])))
"""


def job(item: Topic, notebook: bytes) -> Job:
    """A job on the bench's seed."""
    scale = syllabus().course["grading_scale"]
    return Job(item.id, notebook, SEED, scale, Limits(), sandbox.SANDBOX, sources_digest(item))


def distinct(nb: nbformat.NotebookNode, mark: str) -> bytes:
    """The notebook with a remark that makes it another file."""
    copy = nbformat.from_dict(nb)
    copy.cells.append(nbformat.v4.new_markdown_cell(mark))
    return nbformat.writes(copy).encode()


def solved(item: Topic) -> nbformat.NotebookNode:
    """The solution as a learner hands it in, outputs and all."""
    return nbformat.read(item.notebook("solutions"), as_version=4)


def _ended_cpu(*more: ForkServer) -> float:
    """CPU seconds of all fork servers and of all their children that have ended."""
    total = 0.0
    servers = [*(s.server for s in (*sandbox._open.values(), *runner._stable)), *more]
    for top in [s.process.pid for s in servers]:
        for process in [psutil.Process(top), *psutil.Process(top).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                t = process.cpu_times()
                total += t.user + t.system + t.children_user + t.children_system
    return total


def cohort_run(jobs: list[Job], parallel: int) -> tuple[float, float]:
    """Wall and CPU seconds for grading these, so many at once, with fork servers that are warm."""
    runner.share_cores(parallel)
    for item in {j.topic: j for j in jobs}.values():
        runner.run_job(item, fresh=True)
    before, began = _ended_cpu(), time.perf_counter()
    with ThreadPoolExecutor(parallel) as pool:
        outcomes = list(pool.map(lambda j: runner.run_job(j, fresh=True), jobs))
    wall = time.perf_counter() - began
    assert not any(f["code"] == "lost" for o in outcomes for f in o.result["findings"])
    time.sleep(0.3)  # the last ones are being buried
    return wall, _ended_cpu() - before


def at_once(code: str, *arguments: list[str]) -> list[Any]:
    """Runs code in a fresh process for each list of arguments, all at once; what each printed last, as JSON."""
    running = [
        subprocess.Popen([sys.executable, "-c", code, *some], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for some in arguments
    ]
    return [json.loads(p.communicate()[0].splitlines()[-1]) for p in running]


def papermill_run(notebook: Path, times: int, parallel: int) -> tuple[float, float]:
    """Wall and CPU seconds for ``times`` executions by papermill with cold kernels, in ``parallel`` processes."""
    with tempfile.TemporaryDirectory() as folder:
        each = str(times // parallel)
        got = at_once(PAPERMILL, *([str(notebook), f"{folder}/{n}.ipynb", folder, each] for n in range(parallel)))
    return max(g["wall"] for g in got), sum(g["cpu"] for g in got)


def lower_bound(item: Topic) -> tuple[float, float]:
    """CPU seconds of the solution's cells in one warm process, without any kernel: as they are run to be reproduced
    (on the learner's world), and as they are graded (on another one, the checks among them). Two such processes at once, since
    a core has less to give while its neighbour works."""
    own, graded = zip(*at_once(LEAST, [item.id], [item.id]), strict=True)
    return statistics.mean(own), statistics.mean(graded)


def least(topic_id: str) -> tuple[float, float]:
    """What lower_bound() says, in this process."""
    item = topic(topic_id)
    checks, cells = load_checks(item), cells_with(item, {}, solved=True)
    scale = syllabus().course["grading_scale"]
    graded = ensure_world(opaque_name(SEED), SEED, scale, checks.subjects)
    own = ensure_world("practice-7", practice_seed("practice-7"), 0.05, checks.subjects)
    with contextlib.redirect_stdout(io.StringIO()):
        return (
            _median_cpu(lambda: run_cells(item, "own", cells, own, SEED, only=lambda _: False)),
            _median_cpu(lambda: run_cells(item, "graded", cells, graded, SEED)),
        )


def _median_cpu(run: Callable[[], Any]) -> float:
    run()
    seconds = []
    for _ in range(RUNS):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def overhead() -> None:
    """A submission's CPU and wall seconds: graded in a cohort, executed by papermill, and at the least."""
    print(
        "One submission (reproduced and graded), seconds of CPU, two at once; aim: overhead 0.15 for each of its executions."
    )
    print(
        "papermill: the solved lab with a cold kernel, checked in the kernel. Throughput of the cohort against papermill that"
    )
    print(
        "executes once, and twice, as whoever reproduces and grades has to. Medians of rounds in which all take turns"
    )
    n = 8
    with _servers():
        for item in (t for t in syllabus().topics if t.exists):
            jobs = [job(item, distinct(solved(item), str(i))) for i in range(n)]
            rounds = []
            for _ in range(ROUNDS):
                wall, cpu = cohort_run(jobs, 2)
                own, graded = lower_bound(item)
                cold_wall, cold_cpu = papermill_run(item.notebook("solutions"), 4, 2)
                over = (cpu / n - own - graded) / 2
                rounds.append((cpu / n, own, graded, over, cold_cpu / 4, 60 * n / wall, 60 * 4 / cold_wall))
            cpu, own, graded, over, cold, rate, cold_rate = map(statistics.median, zip(*rounds, strict=True))
            times = statistics.median(r[-2] / r[-1] for r in rounds)
            print(
                f"  {item.id}  cohort {cpu:.2f}  at the least {own:.2f} + {graded:.2f}  overhead for each execution {over:.2f}  "
                f"papermill {cold:.2f}  a minute {rate:.0f} against {cold_rate:.0f}: {times:.1f} times, {2 * times:.1f} times"
            )


EXERCISES = """
import duckdb
import pandas as pd
# %%
orders = pd.DataFrame({"day": [1, 1, 2, 3], "usd": [10.0, 5.0, 2.5, 7.0]})
daily = orders.groupby("day").usd.sum()
# %%
assert daily.loc[1] == 15
# %%
top = orders.sort_values("usd", ascending=False).head(2)
# %%
assert list(top.usd) == [10.0, 7.0]
# %%
con = duckdb.connect(":memory:")
con.execute("create table orders as select * from orders")
total = con.execute("select sum(usd) from orders").fetchone()[0]
# %%
assert total == 24.5
# %%
ranked = con.execute("select day, usd, rank() over (order by usd desc) as place from orders order by place").df()
# %%
assert list(ranked.place) == [1, 2, 3, 4]
# %%
merged = ranked.merge(daily.rename("day_usd"), left_on="day", right_index=True)
merged["share"] = merged.usd / merged.day_usd
# %%
assert abs(merged.share.sum() - 3) < 1e-9
"""


def small_assignment() -> nbformat.NotebookNode:
    """Five exercises on pandas and DuckDB, each followed by its test."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in EXERCISES.split("# %%")]
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nb


def execute_small(request: dict[str, Any], fds: list[int]) -> None:
    """In a fork of the stable: executes the small assignment as a submission is, in a sandboxed kernel."""
    warm = sandbox.Warm(**request["warm"])
    nb = small_assignment()
    with room(warm, Limits()) as place:
        execution = Execution(place, Limits(), {}, lambda *_: None, lambda *_: None)
        papermill.execute_notebook(
            nb, None, engine_name="kestrel", kernel_name="python3", progress_bar=False, execution=execution
        )
    assert not execution.findings


def small() -> None:
    """Execution alone: five exercises, without reproduction and checks."""
    print(
        "A small assignment (five exercises, pandas and DuckDB) executed once, two at once; seconds of CPU an execution;"
    )
    print("aims: 0.15 over the least, 5 times papermill's throughput with cold kernels")
    n, nb = 10 * RUNS, small_assignment()
    cells = [compile(c.source, "<cell>", "exec") for c in nb.cells]

    def run() -> None:
        names: dict[str, Any] = {}
        for cell in cells:
            exec(cell, names)
        names["con"].close()

    with tempfile.TemporaryDirectory() as folder, _servers():
        file = Path(folder) / "small.ipynb"
        nbformat.write(nb, file)
        cold_wall, cold_cpu = papermill_run(file, 10, 2)
        warm = sandbox.shared(sandbox.SANDBOX).warm.plain()
        stable = runner.Stable({"small": "tests.bench_grading:execute_small"})
        stable.server.await_ready()
        runner.share_cores(2)

        def one(_: int) -> None:
            with runner._cores.one() as core:
                process = Forked(stable.address, {"kind": "small", "warm": warm, "cores": core})
                assert process.wait() == 0
                process.close()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(4)))
            before, began = _ended_cpu(stable.server), time.perf_counter()
            list(pool.map(one, range(n)))
            wall = time.perf_counter() - began
        time.sleep(0.3)
        cpu = _ended_cpu(stable.server) - before
        stable.close()
        least = _median_cpu(run)
        print(
            f"  sandboxed {cpu / n:.2f}  at the least {least:.2f}  over it {cpu / n - least:.2f}  papermill {cold_cpu / 10:.2f}  "
            f"a minute {60 * n / wall:.0f} against {60 * 10 / cold_wall:.0f}: {cold_wall / 10 / (wall / n):.1f} times"
        )


def scaling() -> None:
    """Throughput by the number of jobs at once."""
    print(f"Jobs at once on {os.cpu_count()} cores, solved labs of all topics in turn")
    with _servers():
        topics = [t for t in syllabus().topics if t.exists]
        jobs = [job(t, distinct(solved(t), str(i))) for i in range(6) for t in topics]
        first = None
        for parallel in (1, 2, 3, 4):
            wall, cpu = cohort_run(jobs, parallel)
            first = first or wall
            print(
                f"  {parallel}: {60 * len(jobs) / wall:5.0f} a minute  {first / wall:.2f} times one  "
                f"CPU {cpu / len(jobs):.2f} s a submission"
            )


def memory() -> None:
    """Memory of all processes of a cohort run, what they share counted once (proportional set size), by jobs at once."""
    print("Memory of a cohort run, all its processes, at the worst moment (aim: under 400 MB a job)")
    topics = [t for t in syllabus().topics if t.exists]
    for name, some in (
        ("labs without Great Expectations", [t for t in topics if not imports_of(t)]),
        ("all labs", topics),
    ):
        for parallel in (1, 2, 4):
            with _servers():
                jobs = [job(t, distinct(solved(t), str(i))) for i in range(3) for t in some]
                with _Peak() as peak:
                    cohort_run(jobs, parallel)
                print(f"  {name}, {parallel} at once: {peak.mb:.0f} MB, {peak.mb / parallel:.0f} MB a job")


def _proportional(pid: int) -> int:
    """Bytes of a process's memory, what it shares with others in equal parts (proportional set size, proc(5))."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class _Peak:
    """The most memory that this process's children have had together, MB."""

    def __enter__(self) -> _Peak:
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            total = 0
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += _proportional(process.pid)
            self.mb = max(self.mb, total / 2**20)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def large_cohort(size: int = 2000) -> None:
    """A cohort of many, each notebook another file made from the answer banks, through the command; then again, unchanged."""
    print(f"A cohort of {size} from the answer banks, two at once, through the command line")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "submissions"
        _write_cohort(place, size)
        book = Path(folder) / "book.duckdb"
        command = [sys.executable, "-m", "grader", "cohort", str(place), "--out", str(book), "--jobs", "2"]
        for what in ("graded", "again, unchanged"):
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            samples = _samples(process)
            wall = time.perf_counter() - began
            assert process.returncode == 0
            halves = [s for s in samples if s] or [0.0]
            middle = len(halves) // 2
            print(
                f"  {what}: {wall:.1f} s, {60 * size / wall:.0f} a minute; memory of all processes: first half at most "
                f"{max(halves[:middle] or halves):.0f} MB, second half {max(halves[middle:]):.0f} MB"
            )


def _samples(process: subprocess.Popen[bytes]) -> list[float]:
    found = []
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(process.pid)
            found.append(sum(_proportional(p.pid) for p in [top, *top.children(recursive=True)]) / 2**20)
        time.sleep(min(2.0, 0.2 + len(found) * 0.01))
    return found


def _write_cohort(place: Path, size: int) -> None:
    topics = [t for t in syllabus().topics if t.exists]
    banks = {t.id: [None, *answers(t)] for t in topics}
    for n in range(size):
        item = topics[n % len(topics)]
        answer = banks[item.id][(n // len(topics)) % len(banks[item.id])]
        nb = notebook_with(item, {answer.task: answer.source} if answer else {})
        file = place / f"learner-{n:04d}" / item.module / f"{item.folder}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(distinct(nb, str(n)))


@contextlib.contextmanager
def _servers() -> Iterator[None]:
    runner.prepare(sandbox.SANDBOX)
    try:
        yield
    finally:
        runner.close()


SECTIONS = {"small": small, "overhead": overhead, "scaling": scaling, "memory": memory, "large": large_cohort}
