"""Execute a notebook of the documentation in a kernel, and show it as HTML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
_PATIENCE_S = 900  # for one cell, on a busy machine


def executed(name: str, folder: Path, data_dir: Path) -> Any:
    """Return the notebook *name* with what its cells show, run in *folder* with that stack."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    environment = {**os.environ, "NORMLAB_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1"}
    told = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=_PATIENCE_S, kernel_name="python3", resources=told)
    return client.execute(env=environment)


def as_html(notebook: Any, theme: str = "light") -> str:
    """Return an executed *notebook* as a page that loads nothing from elsewhere."""
    exporter = HTMLExporter(theme=theme, mathjax_url="", require_js_url="", jquery_url="")
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)
