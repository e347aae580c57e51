"""Outputs of an executed notebook that may be shown to others: plain text and pictures, never markup or script."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from nbformat import NotebookNode

PNG = b"\x89PNG\r\n\x1a\n"


def tame(notebook: NotebookNode) -> None:
    """Takes out of all outputs what a browser could run, and metadata; what was left out is named."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "data" in output:
                output.data = NotebookNode(_plain(output.data))
                output.metadata = NotebookNode()


def _plain(data: dict[str, Any]) -> dict[str, str]:
    kept = {}
    text, picture = data.get("text/plain"), data.get("image/png")
    if isinstance(text, str):
        kept["text/plain"] = text
    if isinstance(picture, str) and _is_png(picture):
        kept["image/png"] = picture
    if not kept:
        kept["text/plain"] = f"(left out: {', '.join(sorted(map(str, data)))[:200]})"
    return kept


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text).startswith(PNG)
    except (binascii.Error, ValueError):
        return False
