"""nbval on the learner's own seed: the saved outputs of the marked cells equal those of a clean run from top to bottom."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import nbformat

from grader.findings import Finding
from grader.kernels import KERNEL_NAME, room
from grader.limits import Limits
from grader.validate import Submission
from workshop.authoring import tags
from workshop.errors import WorkshopError
from workshop.topics import load_checks
from workshop.world import ensure_world, practice_seed

MAX_SCALE = 0.2


@dataclass(frozen=True)
class Reproduction:
    """``status``: same, differs, or not compared. ``cells``: numbers (from 1) of the cells that came out differently."""

    status: str
    text: str
    compared: int = 0
    cells: tuple[int, ...] = ()


def nbval_command(notebook: Path, *options: str) -> list[str]:
    """The command that runs pytest with nbval and no other plugin on a notebook."""
    # The resolver of internationalised addresses costs a second to import and is not used.
    start = (
        "import sys; sys.modules.setdefault('rfc3987_syntax', None); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    plain = ["-q", "-p", "nbval.plugin", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(notebook.parent)]
    return [sys.executable, "-c", start, str(notebook), *plain, *options]


def plain_environment() -> dict[str, str]:
    """This process's environment without what steers another pytest."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def reproduce(submission: Submission, limits: Limits) -> Reproduction:
    """Runs nbval on the submission. Never raises for what a learner can cause."""
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
    with room(limits) as place, tempfile.TemporaryDirectory() as folder:
        place.offer(files)
        path = Path(folder) / "submission.ipynb"
        # nbval runs what has a source; cells with errors on purpose keep their tag.
        path.write_text(nbformat.writes(_for_nbval(submission)), encoding="utf-8")
        report = Path(folder) / "report.xml"
        cell_timeout = f"--nbval-cell-timeout={limits.cell_s:.0f}"
        command = nbval_command(
            path, "--nbval-lax", "--nbval-kernel-name", KERNEL_NAME, f"--junitxml={report}", cell_timeout
        )
        try:
            subprocess.run(
                command,
                env=plain_environment() | place.environment(),
                cwd=folder,
                capture_output=True,
                timeout=limits.notebook_s,
                check=False,
            )
            return _read(report, submission)
        except (subprocess.TimeoutExpired, OSError, ET.ParseError):
            return Reproduction(
                "differs", "A clean run from top to bottom did not come to an end.", len(submission.reproducible)
            )


def _for_nbval(submission: Submission) -> nbformat.NotebookNode:
    nb = nbformat.from_dict(submission.notebook)
    for cell in nb.cells:
        cell.metadata["tags"] = [t for t in tags(cell) if t != "parameters"]
    return nb


def _read(report: Path, submission: Submission) -> Reproduction:
    codes = [i for i, c in enumerate(submission.notebook.cells) if c.cell_type == "code"]
    wanted = set(submission.reproducible)
    failed = []
    for case in ET.parse(report).iter("testcase"):
        number = int(case.get("name", "").rpartition(" ")[2] or -1)
        if case.find("failure") is not None and number < len(codes) and codes[number] in wanted:
            failed.append(codes[number] + 1)
    n = len(wanted)
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
