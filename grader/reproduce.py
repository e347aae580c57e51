"""nbval on the learner's own seed: the saved outputs of the marked cells equal those of a clean run from top to bottom."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from grader.findings import Finding
from grader.forked import Forked, ServerGone
from grader.kernels import GRACE_S, KERNEL_NAME, Room, Watchdog, room
from grader.limits import Limits
from grader.sandbox import Warm
from grader.stopwatch import MOST
from grader.validate import Submission
from workshop.authoring import tags
from workshop.errors import WorkshopError
from workshop.topics import load_checks
from workshop.world import ensure_world, practice_seed

MAX_SCALE = 0.2
# Of pytest's own plugins: what would cost more than all the rest (two full collections of garbage), or has no place here.
UNUSED_PLUGINS = ("faulthandler", "logging", "capture", "unraisableexception", "threadexception")
UNFINISHED = "A clean run from top to bottom did not come to an end."


@dataclass(frozen=True)
class Reproduction:
    """``status``: same, differs, or not compared. ``cells``: numbers (from 1) of the cells that came out differently;
    ``died``: whether the kernel ended by itself."""

    status: str
    text: str
    compared: int = 0
    cells: tuple[int, ...] = ()
    died: bool = False


def nbval_arguments(notebook: Path, *options: str) -> list[str]:
    """pytest's arguments for running a notebook with nbval and no other plugin."""
    plain = ["-p", "nbval.plugin", "-p", "no:cacheprovider", "-c", os.devnull, "--noconftest"]
    plain += [f"--{name}={notebook.parent}" for name in ("rootdir", "confcutdir")]  # else it looks at all folders above
    return [str(notebook), *plain, *options]


def nbval_command(notebook: Path, *options: str) -> list[str]:
    """The command that does so in a process of its own."""
    # The resolver of internationalised addresses costs a second to import and is not used.
    start = (
        "import sys; sys.modules.setdefault('rfc3987_syntax', None); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", start, *nbval_arguments(notebook, "-q", *options)]


def plain_environment() -> dict[str, str]:
    """This process's environment without what steers another pytest."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def reproduce(submission: Submission, limits: Limits, warm: Warm) -> Reproduction:
    """Runs nbval on the submission, in this process: for one that does nothing else. Never raises for what a learner can
    cause."""
    if not submission.reproducible:
        return Reproduction(
            "not compared",
            "No marked cell has a saved output: run the notebook from top to bottom before handing it in.",
        )
    try:
        seed = practice_seed(submission.world)
        scale = float(submission.scale or 0)
        if scale > MAX_SCALE:
            raise WorkshopError(f"The notebook was made at scale {scale:g}; up to {MAX_SCALE:g} is compared.")
        files = ensure_world(submission.world, seed, scale, load_checks(submission.topic).subjects)
    except (WorkshopError, ValueError) as error:
        return Reproduction("not compared", f"The world that the notebook names cannot be made here: {error}")
    with room(warm, limits) as place, tempfile.TemporaryDirectory(dir=place.root) as folder:
        place.offer(files)
        path = Path(folder) / "submission.ipynb"
        # nbval runs what has a source; cells with errors on purpose keep their tag.
        path.write_text(nbformat.writes(_for_nbval(submission)), encoding="utf-8")
        report = Path(folder) / "report.xml"
        try:
            died = _run_nbval(path, report, place.environment(), place)
            return replace(_read(report, submission), died=died)
        except (OSError, ET.ParseError):
            return Reproduction("differs", UNFINISHED, len(submission.reproducible))


def _run_nbval(notebook: Path, report: Path, environment: dict[str, str], place: Room) -> bool:
    """Runs it; whether the kernel ended by itself."""
    # The watchdog's limits count what the kernel had of the machine; nbval's own goes by the wall and comes after them.
    patience = f"--nbval-cell-timeout={place.limits.cell_s * MOST + GRACE_S:.0f}"
    options = [
        "--nbval-lax",
        "--nbval-kernel-name",
        KERNEL_NAME,
        f"--junitxml={report}",
        patience,
        "--color=no",
        "--tb=no",
    ]
    options += [x for name in UNUSED_PLUGINS for x in ("-p", f"no:{name}")]
    watch = _Watch(place)
    os.environ.update(plain_environment() | environment)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            pytest.main(nbval_arguments(notebook, *options), plugins=[watch])
        finally:
            watch.close()
    if watch.gone is not None:
        raise watch.gone
    return watch.died


class _Watch:
    """A pytest plugin that holds nbval's kernel to the limits of the run."""

    def __init__(self, place: Room) -> None:
        self._place = place
        self._dog: Watchdog | None = None
        self._process: Forked | None = None
        self.gone: ServerGone | None = None
        self.died = False

    def pytest_exception_interact(self, call: Any) -> None:
        """pytest notes every exception as a failed cell; this one is none."""
        if isinstance(call.excinfo.value, ServerGone):
            self.gone = call.excinfo.value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        """Around each cell."""
        if self._dog is None:
            self._process = item.parent.kernel.km.provisioner.process
            self._dog = Watchdog(self._process, self._place.limits, self._place.warm.isolated)
        self._dog.begin(self._place.limits.cell_s)
        try:
            return (yield)
        finally:
            stopped = self._dog.end()
            self.died |= self._process.poll() is not None and not stopped
            if self._dog.out_of_time:
                item.session.shouldstop = "the notebook's time is over"

    def close(self) -> None:
        """Ends the watch."""
        if self._dog is not None:
            self._dog.close()


def _for_nbval(submission: Submission) -> nbformat.NotebookNode:
    nb = nbformat.from_dict(submission.notebook)
    for cell in nb.cells:
        cell.metadata["tags"] = [t for t in tags(cell) if t != "parameters"]
    return nb


def _read(report: Path, submission: Submission) -> Reproduction:
    codes = [i for i, c in enumerate(submission.notebook.cells) if c.cell_type == "code"]
    wanted = set(submission.reproducible)
    failed, seen = [], set()
    for case in ET.parse(report).iter("testcase"):
        last = case.get("name", "").rpartition(" ")[2]
        number = int(last) if last.isdecimal() else len(codes)  # what has no number failed before the first cell
        if number < len(codes) and codes[number] in wanted:
            seen.add(codes[number])
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(codes[number] + 1)
    n = len(wanted)
    if wanted - seen:
        return Reproduction("differs", UNFINISHED, n)
    if failed:
        where = ", ".join(str(i) for i in failed)
        return Reproduction(
            "differs",
            f"A clean run from top to bottom gives other outputs than the saved ones in cell {where}.",
            n,
            tuple(failed),
        )
    return Reproduction("same", f"A clean run from top to bottom gives the saved outputs ({n} marked cells).", n)


def finding(result: Reproduction) -> Finding:
    """The reproduction as a finding."""
    return Finding(
        f"reproduce_{result.status.replace(' ', '_')}", result.text, "warning" if result.status == "differs" else "note"
    )
