"""Whatever is handed in, the result says what is wrong, and nothing crashes."""

import json
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from conftest import TOPICS, grade_bytes

from grader.__main__ import cli
from grader.findings import Refused
from grader.limits import Limits
from grader.sample import BREAKAGES, break_notebook, notebook_with
from grader.validate import read
from workshop.topics import topic

LIMITS = Limits()


def lab(solved: bool = True) -> nbformat.NotebookNode:
    return notebook_with(topic("3.6"), {}, solved=solved)


def data(nb: nbformat.NotebookNode) -> bytes:
    return nbformat.writes(nb).encode()


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (b"", "empty"),
        (b"   \n", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not_a_notebook"),
        (b"print('a script')", "not_a_notebook"),
        (b"[1, 2]", "not_a_notebook"),
        (b'{"some": "json"}', "not_a_notebook"),
        (b'{"nbformat": 4, "cells": "none"}', "not_a_notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}', "no_code"),
        (b"[" * 100_000, "not_a_notebook"),
        (b'{"nbformat": 4, "cells": [' + b'{"a":' * 50_000, "not_a_notebook"),
    ],
)
def test_what_is_no_notebook_is_refused_with_a_reason(what: bytes, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        read(what, LIMITS)
    assert refusal.value.finding.code == code
    assert refusal.value.finding.level == "fatal"


def test_truncated_file_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        read(data(lab())[:-200], LIMITS)
    assert refusal.value.finding.code == "not_a_notebook"


def test_notebook_of_no_lab_and_of_another_lab_are_told_apart() -> None:
    stranger = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    with pytest.raises(Refused, match="no lab of the workshop"):
        read(data(stranger), LIMITS)
    with pytest.raises(Refused, match=r"lab 3\.6, handed in for lab"):
        read(data(lab()), LIMITS, expected=next(t for t in TOPICS if t != "3.6"))
    unknown = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('lab = open_lab("42.1")')])
    with pytest.raises(Refused, match="does not have"):
        read(data(unknown), LIMITS)


def test_a_file_that_is_too_large_says_how_to_make_it_small() -> None:
    with pytest.raises(Refused, match="Clear the outputs"):
        read(b" " * 2000 + b"{}", Limits(notebook_bytes=1000))


def codes(nb: nbformat.NotebookNode) -> tuple[dict[int, list[str]], set[str]]:
    submission = read(data(nb), LIMITS)
    return submission.probes, {f.code for f in submission.findings}


def test_the_lab_as_handed_out_has_no_findings() -> None:
    probes, found = codes(lab())
    assert found == set()
    assert sorted(letter for letters in probes.values() for letter in letters) == [t.letter for t in topic("3.6").tasks]


def marked(nb: nbformat.NotebookNode, start: str) -> list[int]:
    return [i for i, c in enumerate(nb.cells) if any(t.startswith(start) for t in c.metadata.get("tags", []))]


def test_lost_check_cell_is_judged_at_the_end() -> None:
    nb = lab()
    del nb.cells[marked(nb, "check-a")[0]]
    probes, found = codes(nb)
    assert found == {"check_missing"}
    assert "a" in probes[len(nb.cells) - 1]


def test_duplicated_check_cell_is_judged_at_the_last() -> None:
    nb = lab()
    nb.cells.append(nbformat.v4.new_code_cell('lab.check("a")'))
    probes, found = codes(nb)
    assert found == {"check_twice"}
    assert "a" in probes[len(nb.cells) - 1]


def test_check_before_its_task_is_judged_after_it() -> None:
    nb = lab()
    task, check = marked(nb, "task-a")[0], marked(nb, "check-a")[0]
    nb.cells[task], nb.cells[check] = nb.cells[check], nb.cells[task]
    probes, found = codes(nb)
    assert found == {"check_early"}
    assert "a" in probes[check]


def test_lost_frame_is_put_back() -> None:
    nb = lab()
    nb.cells = [c for c in nb.cells if not set(c.metadata.get("tags", [])) & {"parameters", "setup"}]
    submission = read(data(nb), LIMITS)
    assert {f.code for f in submission.findings} == {"parameters_missing", "setup_missing"}
    assert "open_lab" in submission.notebook.cells[1].source
    assert "parameters" in submission.notebook.cells[0].metadata.tags


def test_ids_and_tags_lost_by_an_editor_change_nothing() -> None:
    nb = lab()
    want = codes(nb)
    colab = break_notebook(lab(), "colab", topic("3.6"), [])
    submission = read(colab, LIMITS)
    assert (submission.probes, {f.code for f in submission.findings}) == want
    bare = json.loads(data(nb))
    for cell in bare["cells"]:
        cell.pop("id")
        cell["metadata"] = {"vscode": {"languageId": "python"}}
    submission = read(json.dumps(bare).encode(), LIMITS)
    assert (submission.probes, {f.code for f in submission.findings}) == want


def test_old_notebook_format_is_read() -> None:
    old = nbformat.convert(lab(), 3)
    assert read(nbformat.writes(old, version=3).encode(), LIMITS).topic.id == "3.6"


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_every_breakage_of_the_sample_ends_in_a_result(breakage: str) -> None:
    """Graded on an untouched lab: reading and repair are what is tested, the tasks cost nothing."""
    item = topic("3.6")
    graded = grade_bytes(break_notebook(lab(solved=False), breakage, item, [topic(t) for t in TOPICS]))
    assert graded.points == 0
    assert graded.gradable == (breakage not in {"truncated", "empty", "not_a_notebook", "other_lab"})
    assert graded.findings
    assert not any(r.grader_fault for r in graded.results)


def run(*args: str) -> tuple[int, str]:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "grader", *args], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_exit_codes_and_one_line_errors(tmp_path: Path) -> None:
    code, said = run("grade", str(tmp_path / "missing.ipynb"))
    assert code == 1
    assert said.startswith("Error: There is no file")
    assert said.count("\n") == 1
    good = tmp_path / "x.ipynb"
    good.write_bytes(data(lab()))
    assert run("grade", str(good), "--seed", "xyz")[0] == 2
    assert run("grade", str(good), "--topic", "11.1")[0] == 2
    assert run("grade", "--nonsense")[0] == 2
    (tmp_path / "empty.ipynb").write_bytes(b"")
    code, said = run("grade", str(tmp_path / "empty.ipynb"), "--json")
    assert code == 1
    assert json.loads(said)["findings"][0]["code"] == "empty"
    assert "Traceback" not in said


def test_help_names_every_command() -> None:
    said = CliRunner().invoke(cli, ["--help"]).output
    assert all(name in said for name in ("grade", "cohort", "sample", "release"))
