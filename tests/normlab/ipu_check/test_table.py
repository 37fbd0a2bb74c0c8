from __future__ import annotations

from pathlib import Path

from normlab.ipu_check.table import verdict_table

DOCS = Path(__file__).parents[3] / "docs"


def test_the_documentation_has_the_current_table() -> None:
    assert verdict_table() in (DOCS / "devices.md").read_text()
