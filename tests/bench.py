"""make bench: what is fast and what is not, as medians of several runs, and ratios within one run.

Each figure of a process is that of a fresh process. Nothing here fails by the clock.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 5

BUILD = """
import json, resource, sys, time
from pathlib import Path
import duckdb
from workshop.world.build import build_world
from workshop.world import practice_seed
began = time.perf_counter()
build_world(Path(sys.argv[2]), Path(sys.argv[3]), practice_seed("practice-7"), float(sys.argv[1]))
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
con = duckdb.connect(sys.argv[2], read_only=True)
names = con.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()
rows = sum(con.execute(f"select count(*) from {t}").fetchone()[0] for (t,) in names)
con.close()
print(json.dumps({"seconds": seconds, "peak_mb": peak, "rows": rows}))
"""

LAB = """
import io, json, resource, sys, time, contextlib
from workshop.authoring import compose, tags
topic_id = sys.argv[1]
import workshop
from workshop import lab as runtime
from workshop.topics import topic
item = topic(topic_id)
names = {"__name__": "__main__"}
cells = [c for c in compose(item, "solutions").cells if c.cell_type == "code"]
seconds = {}
with contextlib.redirect_stdout(io.StringIO()):
    for c in cells:
        marks = tags(c)
        if "parameters" in marks or any(m.startswith("task-") for m in marks):
            exec(c.source, names)
        elif "setup" in marks:
            began = time.perf_counter()
            exec(c.source, names)
            seconds["open_lab"] = time.perf_counter() - began
        for m in marks:
            if m.startswith("check-"):
                began = time.perf_counter()
                report = names["lab"].check(m[6:])
                seconds[m] = time.perf_counter() - began
                assert "failed" not in str(report).split("points")[1], str(report)
seconds["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(seconds))
"""


def fresh(code: str, *arguments: str) -> dict:
    """Runs code in a fresh process; its last line is JSON."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def worlds() -> None:
    """World builds at three scales."""
    print("World build, all subjects (aims: 2 s at 0.02; 30 s and 2,000 MB at 1.0)")
    for scale, runs in ((0.02, RUNS), (0.05, RUNS), (1.0, 3)):
        got = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                got.append(fresh(BUILD, str(scale), f"{folder}/world", f"{folder}/truth"))
        seconds = median([g["seconds"] for g in got])
        rows = got[0]["rows"]
        peak = median([g["peak_mb"] for g in got])
        print(
            f"  scale {scale:<5g} {seconds:6.2f} s  {rows:>10,} rows  {rows / seconds:>10,.0f} rows/s  peak {peak:5.0f} MB"
        )


def labs() -> None:
    """open_lab on a cached world, each lab.check at the default scale, and the peak memory of a process that does it all."""
    from workshop.topics import syllabus
    from workshop.world import ensure_world, practice_seed

    ensure_world("practice-7", practice_seed("practice-7"), 0.05)
    print("Labs at the default scale, reference solution, fresh processes (aims: open_lab 1 s; 95% of checks 1 s)")
    checks: list[float] = []
    for item in (t for t in syllabus().topics if t.exists):
        got = [fresh(LAB, item.id) for _ in range(RUNS)]
        parts = []
        for key in got[0]:
            value = median([g[key] for g in got])
            if key.startswith("check-"):
                checks.append(value)
            parts.append(f"{key} {value:.2f} s" if key != "peak_mb" else f"peak {value:.0f} MB")
        print(f"  {item.id}  {'  '.join(parts)}")
    within = sum(c < 1 for c in checks)
    print(f"  {within} of {len(checks)} lab.check calls within 1 s")


def month() -> None:
    """A simulated month of all pipelines: plan and events, CPU seconds of this process."""
    import duckdb
    import numpy as np

    from workshop import sim
    from workshop.world import ensure_world, practice_seed

    files = ensure_world("practice-7", practice_seed("practice-7"), 0.02, ["pipelines", "runs"])
    with duckdb.connect(str(files.world), read_only=True) as con:
        tasks = con.execute(
            """
            select t.dag_id, t.task_id, t.pool, d.schedule_cron, 0 as offset_s, median(epoch(r.ended_at - r.started_at)) as work_s
            from ops.tasks t
            join ops.dags d using (dag_id)
            left join ops.task_runs r using (task_id)
            group by all
            order by t.dag_id, any_value(t.step_no)
            """
        ).df()
        deps = con.execute("select task_id, upstream_task_id, is_sensor from ops.task_deps").df()
        slots = con.execute("select pool, slots::integer as slots from ops.pools").df()
    took = []
    for k in range(RUNS):
        began = time.process_time()
        plan = sim.plan_runs(tasks, deps, np.datetime64("2026-06-01"), 30)
        n, rng = len(plan), np.random.default_rng(k)
        planned = time.process_time()
        full = np.ones(n)
        draws = sim.Draws(
            sim.of_tasks(plan, tasks.work_s.fillna(60)) * rng.lognormal(0, 0.3, n),
            np.where(rng.random(n) < 0.01, rng.integers(1, 5, n), 0),
            np.where(rng.random(n) < 0.1, 99, 1),
            rng.integers(0, 20, n),
            full,
            rng.random((n, 5)),
            tuple(sim.Outage(r, (3 + r) * 86_400.0, (3 + r) * 86_400.0 + 3600, 3600, 30) for r in range(20)),
        )
        settings = sim.Settings(
            3 * full, 300 * full, 2 * full, 3600 * full, full, 21_600 * full, np.full(n, 62), 0 * full, np.full(n, -1)
        )
        numbers = {pool: k for k, pool in enumerate(slots.pool)}
        pools = sim.Pools(sim.of_tasks(plan, tasks.pool.map(numbers)), slots.slots.tolist())
        drawn = time.process_time()
        run = sim.simulate_month(plan, draws, settings, pools)
        took.append((planned - began, time.process_time() - drawn))
    plan_s, events_s = (median([t[k] for t in took]) for k in range(2))
    print("A simulated month of the platform, CPU (aim: 1 s for 400 pipelines)")
    print(
        f"  {tasks.dag_id.nunique()} pipelines, {n:,} task runs, {run.attempts.sum():,} attempts: plan {plan_s:.2f} s, "
        f"events {events_s:.2f} s"
    )


def memory_of_a_kernel() -> None:
    """Peak memory of a learner's kernel that runs a whole lab (Binder gives 2 GB; the aim is 1 GB for kernel and world)."""
    from workshop.topics import syllabus

    print("Peak memory of a Jupyter kernel that runs the whole solved lab at the default scale (aim: under 1,000 MB)")
    from pathlib import Path

    import nbformat

    from workshop.authoring import execute

    for item in (t for t in syllabus().topics if t.exists):
        nb = nbformat.read(item.notebook("solutions"), as_version=4)
        last = nbformat.v4.new_code_cell(
            "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        nb.cells.append(last)
        with tempfile.TemporaryDirectory() as folder:
            nb = execute(nb, Path(folder))
        print(f"  {item.id}  {float(nb.cells[-1].outputs[0].text):.0f} MB")


REPORT = """
import json, resource, sys, time
from pathlib import Path
from grader.report import report
began = time.perf_counter()
pages = report(Path(sys.argv[1]), Path(sys.argv[2]))
seconds = time.perf_counter() - began
size = sum(p.stat().st_size for p in Path(sys.argv[2]).rglob("*") if p.is_file()) / 1e6
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mb": peak, "size_mb": size, "pages": pages}))
"""


def reports() -> None:
    """The report of cohorts that were never graded, with nearly all topics of the syllabus each."""
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent))
    from cohorts import make_book

    print("Report (aims for 1,000 learners: 60 s and 1,000 MB)")
    seconds = {}
    for learners in (100, 1000):
        with tempfile.TemporaryDirectory() as folder:
            book = make_book(Path(folder) / "book.duckdb", learners)
            r = fresh(REPORT, str(book), str(Path(folder) / "report"))
        seconds[learners] = r["seconds"]
        print(
            f"  {learners:>5} learners: {r['seconds']:.1f} s, {r['peak_mb']:.0f} MB of memory, {r['pages']:,} pages of "
            f"{r['size_mb']:.0f} MB"
        )
    print(f"  ten times the learners take {seconds[1000] / seconds[100]:.1f} times as long")


def main(wanted: list[str]) -> None:
    """Runs all measurements, or those named."""
    from tests import bench_grading

    own = {"worlds": worlds, "labs": labs, "month": month, "kernels": memory_of_a_kernel, "reports": reports}
    sections = own | bench_grading.SECTIONS
    unknown = set(wanted) - set(sections)
    if unknown:
        sys.exit(f"There is no section {', '.join(sorted(unknown))}; there are {', '.join(sections)}.")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; medians of {RUNS} runs (3 at scale 1.0)")
    for name in wanted or sections:
        sections[name]()


if __name__ == "__main__":
    sys.modules.setdefault("rfc3987_syntax", None)
    main(sys.argv[1:])
