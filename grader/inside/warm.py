"""Imported by the sandbox's fork server alone: what a kernel and a lab load sooner or later, and what their first use makes,
so that each fork finds it done."""

from __future__ import annotations

import importlib
import pkgutil

import duckdb
import matplotlib.pyplot as plt
import pandas as pd
import sqlglot
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from traitlets.config import Config

import workshop.sim
from workshop import plots
from workshop.topics import syllabus

FIRST_USE = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.utils.wildcard",
    "fastavro",
    "ipykernel.debugger",
    "matplotlib.backends.backend_agg",
    "matplotlib_inline.backend_inline",
    "networkx",
    "pandas.io.formats.html",
    "pandas.io.formats.string",
    "tornado.platform.asyncio",
    "workshop.telemetry",
    "zmq.utils.garbage",
    *(f"workshop.sim.{m.name}" for m in pkgutil.iter_modules(workshop.sim.__path__)),
)

for _name in FIRST_USE:
    importlib.import_module(_name)
Image.preinit()
duckdb.tokenize("select 1")  # makes the parser's grammar, and no connection
syllabus()
sqlglot.parse_one("select 1 as one", read="duckdb")
_shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
_shell.display_formatter.format(pd.DataFrame({"a": [1.0], "b": ["text"]}))
_shell.run_cell("1 + 1;", silent=True)
_figure, _axes = plt.subplots()
_axes.set_title("text")
_axes.plot([0, 1], [0, 1])
plots.png(_figure)
