"""make bench: what is fast and what is not, as medians of several runs, and ratios within one run.

Each figure of a process is that of a fresh process. Nothing here fails by the clock.
"""

from __future__ import annotations

import json
import os
import resource
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

BARE = """
import logging, sys
logging.disable(logging.CRITICAL)
sys.modules.setdefault("rfc3987_syntax", None)
import papermill
papermill.execute_notebook(sys.argv[1], sys.argv[2], progress_bar=False, cwd=sys.argv[3])
"""


def fresh(code: str, *arguments: str) -> dict:
    """Runs code in a fresh process; its last line is JSON."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command, its children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


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


def grading() -> None:
    """One lab graded, against the bare papermill run of the same notebook."""
    from workshop.topics import syllabus

    print("Grading one solved lab against a bare papermill run of the same notebook (medians; ratio pair by pair)")
    for item in (t for t in syllabus().topics if t.exists):
        notebook = str(item.notebook("solutions"))
        with tempfile.TemporaryDirectory() as folder:
            grade = [sys.executable, "-m", "grader", "grade", notebook, "--seed", "0123456789abcdef" * 2]
            bare = [sys.executable, "-c", BARE, notebook, f"{folder}/out.ipynb", folder]
            timed(grade)
            timed(bare)
            pairs = [(timed(grade), timed(bare)) for _ in range(3)]
        wall = median([a[0] / b[0] for a, b in pairs])
        cpu = median([a[1] / b[1] for a, b in pairs])
        g, b = median([a[0] for a, _ in pairs]), median([b[0] for _, b in pairs])
        print(f"  {item.id}  graded {g:.2f} s  papermill {b:.2f} s  ratio wall {wall:.2f}  CPU {cpu:.2f}")


def main() -> None:
    """Runs all measurements."""
    sys.modules.setdefault("rfc3987_syntax", None)
    print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; medians of {RUNS} runs (3 at scale 1.0 and for grading)"
    )
    worlds()
    labs()
    memory_of_a_kernel()
    grading()


if __name__ == "__main__":
    main()
