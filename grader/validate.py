"""From the bytes that were handed in to a notebook that can be run, and what had to be mended on the way.

Editors lose cell ids and tags (Colab, VS Code), learners duplicate, delete and reorder cells. So the cells of the frame are
found by their id, else by their tag, else by what they say: an assignment to WORLD, a call of open_lab, of lab.check.
"""

from __future__ import annotations

import ast
import json
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import nbformat
from nbformat import NotebookNode

from grader.findings import Finding, Refused
from grader.limits import Limits
from workshop.authoring import tags
from workshop.errors import WorkshopError
from workshop.topics import Topic, syllabus, topic

MAX_CELLS = 2000


@dataclass
class Submission:
    """A notebook ready to run. ``probes``: task letters to be judged after the cell of that index."""

    topic: Topic
    notebook: NotebookNode
    world: str | None
    scale: float | None
    probes: dict[int, list[str]] = field(default_factory=dict)
    reproducible: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read(data: bytes, limits: Limits, expected: str | None = None) -> Submission:
    """The submission in ``data``. ``expected`` is the topic that was asked for, if one was.

    Raises Refused for what is no notebook, or no notebook of a lab, or another lab's.
    """
    nb = _parse(data, limits)
    found = _topic_of(nb)
    if expected is None and found is None:
        raise Refused(
            "no_lab",
            "This notebook is no lab of the workshop: no cell calls open_lab(...). Hand in the lab notebook itself.",
        )
    known = {t.id for t in syllabus().topics if t.exists}
    if found is not None and found not in known:
        raise Refused(
            "unknown_lab", f"This notebook opens lab {found!r}, which this version of the workshop does not have."
        )
    if expected is not None and found is not None and found != expected:
        raise Refused(
            "other_lab", f"This is the notebook of lab {found}, handed in for lab {expected}. Hand in lab {expected}'s."
        )
    return _plan(nb, topic(expected or found))


def _parse(data: bytes, limits: Limits) -> NotebookNode:
    if len(data) > limits.notebook_bytes:
        raise Refused(
            "too_large",
            f"The file has {len(data) / 1e6:.0f} MB; at most {limits.notebook_bytes // 2**20} MB are graded. Clear the outputs "
            "(Kernel, Restart Kernel and Clear Outputs) and hand it in again.",
        )
    if not data.strip():
        raise Refused("empty", "The file is empty. Save the notebook and hand it in again.")
    try:
        plain = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise Refused(
            "not_a_notebook", "The file is not a notebook: it is not readable as JSON. Hand in the .ipynb file."
        ) from None
    version = plain.get("nbformat") if isinstance(plain, dict) else None
    if not isinstance(version, int) or not (
        isinstance(plain.get("cells"), list) or isinstance(plain.get("worksheets"), list)
    ):
        raise Refused("not_a_notebook", "The file is JSON, but not a notebook. Hand in the .ipynb file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nb = nbformat.from_dict(plain) if version == 4 else nbformat.reads(json.dumps(plain), as_version=4)
            cells = [_clean(c) for c in nb.cells[:MAX_CELLS] if isinstance(c, dict)]
    except Exception as error:  # whatever a damaged file makes nbformat raise
        raise Refused("damaged", f"The notebook is damaged ({type(error).__name__}) and cannot be read.") from None
    if not any(c.cell_type == "code" for c in cells):
        raise Refused("no_code", "The notebook has no code cell. Hand in the lab notebook itself.")
    clean = nbformat.v4.new_notebook(cells=cells)
    about = nb.metadata.get("kestrel") if isinstance(nb.get("metadata"), dict) else None
    clean.metadata["kestrel"] = about if isinstance(about, dict) else {}
    clean.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    clean.metadata["language_info"] = {"name": "python"}
    return clean


def _clean(cell: dict[str, Any]) -> NotebookNode:
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    meta = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    marks = [str(t) for t in meta.get("tags", [])] if isinstance(meta.get("tags"), list) else []
    if cell.get("cell_type") == "code":
        new = nbformat.v4.new_code_cell(text)
        new.outputs = _outputs(cell.get("outputs"))
        count = cell.get("execution_count")
        new.execution_count = count if isinstance(count, int) else None
    else:
        new = nbformat.v4.new_markdown_cell(text)
    name = cell.get("id") or meta.get("id")  # Colab moves the id into the metadata
    if isinstance(name, str):
        new.metadata["given_id"] = name
    new.metadata["tags"] = marks
    return new


def _outputs(plain: Any) -> list[NotebookNode]:
    kept = []
    for o in plain if isinstance(plain, list) else []:
        try:
            node = nbformat.from_dict(o)
            nbformat.validate(node, "output", version=4)
            kept.append(node)
        except Exception:  # an output that is no output is not worth a word: it is made anew anyway
            continue
    return kept


def _tree(source: str) -> ast.AST | None:
    try:
        # IPython's magics are no Python; they never belong to the frame.
        return ast.parse(
            "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _calls(tree: ast.AST | None, name: str) -> list[str]:
    """First arguments (strings) of calls of ``name`` or of any_object.name."""
    found = []
    for node in ast.walk(tree) if tree else ():
        if (
            isinstance(node, ast.Call)
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if called == name:
                found.append(node.args[0].value)
    return found


def _parameters(tree: ast.AST | None) -> dict[str, Any] | None:
    """The literal values of WORLD and SCALE, if the cell assigns WORLD."""
    values: dict[str, Any] = {}
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for t, v in pairs:
                    if isinstance(t, ast.Name) and t.id in {"WORLD", "SCALE"}:
                        values[t.id] = v.value if isinstance(v, ast.Constant) else None
    return values if "WORLD" in values else None


def _topic_of(nb: NotebookNode) -> str | None:
    for cell in nb.cells:
        if cell.cell_type == "code":
            opened = _calls(_tree(cell.source), "open_lab")
            if opened:
                return opened[0]
    about = nb.metadata.kestrel
    return str(about["topic"]) if about.get("kind") == "lab" and "topic" in about else None


@cache
def frame(item: Topic) -> tuple[NotebookNode, ...]:
    """The cells of the lab as it is handed out. Raises WorkshopError when its notebook has not been built."""
    path = item.notebook("labs")
    try:
        return tuple(nbformat.v4.reads(path.read_text(encoding="utf-8")).cells)
    except (OSError, ValueError):
        raise WorkshopError(f"{path} cannot be read: run make build.") from None


def _plan(nb: NotebookNode, item: Topic) -> Submission:
    cells = [c for c in frame(item) if tags(c)]
    by_id = {c.id: tags(c)[0] for c in cells}
    original = {tags(c)[0]: c.source for c in cells if c.cell_type == "code"}
    letters = [t.letter for t in item.tasks]
    findings: list[Finding] = []
    roles: dict[str, list[int]] = {}
    world = scale = None
    for i, cell in enumerate(nb.cells):
        given = cell.metadata.pop("given_id", None)
        if cell.cell_type != "code":
            continue
        tree = _tree(cell.source)
        parameters = _parameters(tree)
        checked = _calls(tree, "check")
        role = by_id.get(given) or next((t for t in tags(cell) if t in original), None)
        if checked and checked[0] in letters:
            role = f"check-{checked[0]}"
        elif parameters is not None and not _calls(tree, "open_lab"):
            role = "parameters"
        elif _calls(tree, "open_lab"):
            role = "setup"
        elif role and role.startswith(("check-", "setup", "parameters")):
            role = None  # the cell kept its name but lost what it says
        if parameters is not None and world is None:
            world, scale = parameters.get("WORLD"), parameters.get("SCALE")
        if role:
            roles.setdefault(role, []).append(i)
        if "nbval-check-output" in tags(cell) or by_id.get(given) == "nbval-check-output":
            cell.metadata["reproduce"] = True
    for cell in nb.cells:
        kept = [t for t in tags(cell) if t in {"nbval-ignore-output", "raises-exception"}]
        cell.metadata["tags"] = [*kept, "nbval-check-output"] if cell.metadata.get("reproduce") else kept
    probes: dict[int, list[str]] = {}
    for letter in letters:
        places = roles.get(f"check-{letter}", [])
        last_task = max(roles.get(f"task-{letter}", [-1]))
        if not places:
            probes.setdefault(len(nb.cells) - 1, []).append(letter)
            findings.append(
                Finding(
                    "check_missing",
                    f'The cell lab.check("{letter}") is gone; task {letter} was judged at the end instead.',
                )
            )
            continue
        if len(places) > 1:
            findings.append(
                Finding(
                    "check_twice",
                    f'lab.check("{letter}") stands {len(places)} times; task {letter} was judged at the last.',
                )
            )
        at = places[-1]
        if at < last_task:
            findings.append(
                Finding(
                    "check_early",
                    f'lab.check("{letter}") stands before the cell of task {letter}; it was judged after that cell.',
                )
            )
            at = last_task
        probes.setdefault(at, []).append(letter)
    submission = Submission(
        item, nb, world if isinstance(world, str) else None, scale if isinstance(scale, int | float) else None
    )
    _mend_frame(submission, roles, original, probes, findings)
    submission.findings = findings
    submission.reproducible = [
        i for i, c in enumerate(nb.cells) if c.cell_type == "code" and c.metadata.pop("reproduce", False) and c.outputs
    ]
    return submission


def _mend_frame(
    submission: Submission,
    roles: dict[str, list[int]],
    original: dict[str, str],
    probes: dict[int, list[str]],
    findings: list[Finding],
) -> None:
    """Puts the parameters and the setup cell back where they are missing or stand too late."""
    nb = submission.notebook
    first_probe = min(probes)
    put: list[NotebookNode] = []
    for role, code, name in (
        ("parameters", "parameters_missing", "WORLD, SCALE"),
        ("setup", "setup_missing", "open_lab"),
    ):
        places = roles.get(role, [])
        if not places or places[0] > first_probe:
            cell = nbformat.v4.new_code_cell(original[role])
            cell.metadata["tags"] = ["parameters"] if role == "parameters" else []
            put.append(cell)
            where = "is gone" if not places else "stands after the first check"
            findings.append(
                Finding(
                    code,
                    f"The first cells must set up the lab, but the cell with {name} {where}; the original was put in front.",
                )
            )
        elif role == "parameters":
            nb.cells[places[0]].metadata["tags"] = ["parameters", *tags(nb.cells[places[0]])]
    if put:
        nb.cells = put + nb.cells
        shifted = {i + len(put): letters for i, letters in probes.items()}
        probes.clear()
        probes.update(shifted)
    submission.probes = probes
