"""Imported by the process that forks one for each job: all that grading loads, and what its first use makes. It holds no
secret: a job's comes with the job."""

from __future__ import annotations

import importlib
import pkgutil

import duckdb
import matplotlib.pyplot as plt
import nbformat
import nbval.kernel
import nbval.plugin
import pandas  # noqa: F401
from _pytest.config import default_plugins

import grader.grade
import grader.result
import workshop.sim
from workshop import plots
from workshop.topics import syllabus

FIRST_USE = (
    "_pytest._argcomplete",
    "fastavro",
    "pdb",
    *(f"_pytest.{name}" for name in default_plugins),
    *(f"workshop.sim.{m.name}" for m in pkgutil.iter_modules(workshop.sim.__path__)),
)

for _name in FIRST_USE:
    importlib.import_module(_name)
nbval.kernel.pformat = type  # it words every message for a log that nobody reads, at a third of its cost
nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]))
grader.result.to_html(grader.result.refusal(None, "0" * 64, grader.grade.Finding("none", "", "note")))
syllabus()
duckdb.tokenize("select 1")  # makes the parser's grammar, and no connection
_figure, _axes = plt.subplots()
_axes.set_title("text")
_axes.plot([0, 1], [0, 1])
plots.png(_figure)
