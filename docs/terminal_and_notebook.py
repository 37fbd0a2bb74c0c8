"""Pictures of the command line in a terminal, and of a notebook in Jupyter, for `make pictures`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from normlab.stacks.connection import Connection
from tests.jupyter.executing import as_html, executed
from tests.terminal import Terminal

NOTEBOOK = "from-nothing-to-a-figure.ipynb"
WIDTHS = {80: "dark", 120: "light", 200: "dark"}
"""By width of the terminal in characters: its theme."""
_ROWS = 100
_PAGE = (
    '<body style="margin: 0; background: {back}"><pre style="display: inline-block; margin: 0; '
    "padding: 16px; color: {ink}; background: {back}; font: 14px/1.35 'DejaVu Sans Mono', "
    'monospace"><style>i {{ font-style: normal }}</style>{text}</pre></body>'
)
_COLOURS = {"dark": ("#14181d", "#e6e9ed"), "light": ("#ffffff", "#1c2430")}
_NAMES = ("green", "cyan", "red", "magenta", "brown")  # as terminals call them
_PALETTES = {
    "dark": dict(zip(_NAMES, ("#57d68a", "#5fd7e0", "#ff8a80", "#e389f5", "#f0c060"))),
    "light": dict(zip(_NAMES, ("#116329", "#0f6a72", "#b42318", "#7a2fb5", "#7d4e00"))),
}
Save = Callable[[bytes, str], None]
"""Keeps a picture under a name."""


def take_terminal(page: Page, connection: Connection, jobs: list[str], save: Save) -> None:
    """
    Take pictures of commands in terminals of three widths.

    Args:
        page: the browser page to draw on.
        connection: the connection to the stack.
        jobs: one that runs, and two to compare.
        save: keeps the pictures.
    """
    path = f"{Path(sys.executable).parents[2] / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    stack = {"NORMLAB_URL": connection.url, "NORMLAB_TOKEN": connection.token or ""}
    for width, theme in WIDTHS.items():
        with Terminal(width, _ROWS, {"PATH": path, **stack}) as terminal:
            for command in _commands(*(job[-8:] for job in jobs)):
                terminal.run(command)
            back, ink = _COLOURS[theme]
            page.set_content(_PAGE.format(back=back, ink=ink, text=terminal.html(_PALETTES[theme])))
        save(page.locator("pre").screenshot(), f"terminal-{width}")


def _commands(running: str, one: str, other: str) -> list[str]:
    return [
        "normlab ls -n 6",
        "normlab ls --filter 'normalizer = group and val/accuracy > 0.8' -n 3",
        'normlab results "small batches" --against normalizer:batch',
        'normlab compare "small batches" group+proxy batch',
        "normlab best -n 3",
        f"normlab diff {one} {other}",
        f"normlab tail {running}",
        "normlab ls --filter 'optimiser.lr < 0.1'",
    ]


def take_notebook(
    page: Page, data_dir: Path, sizes: dict[int, tuple[int, str]], save: Save
) -> None:
    """Execute the notebook of the tutorial with the stack, and take pictures at three sizes."""
    with tempfile.TemporaryDirectory(prefix="normlab-notebook-") as folder:
        notebook = executed(NOTEBOOK, Path(folder), data_dir)
        for width, (height, theme) in sizes.items():
            html = Path(folder) / "notebook.html"
            html.write_text(as_html(notebook, theme))
            page.set_viewport_size({"width": width, "height": height})
            page.goto(html.as_uri())
            page.get_by_text("8 runs").first.evaluate("e => e.closest('.jp-Cell').scrollIntoView()")
            save(page.screenshot(full_page=width == min(sizes)), f"notebook-{width}")
