"""Figures of a study for a paper, drawn here from what the service answers."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from normlab.presentation.figures import FigureQuestion, beside
from normlab.presentation.plots import save
from normlab.records import DifferenceTable, ResultTable


def draw(
    table: ResultTable, compared: Optional[DifferenceTable], target: Path, spread: str
) -> Path:
    """Draw into *target*, and write the numbers beside it; return the picture's path."""
    path = save(table, target, spread, compared)
    found = beside(FigureQuestion(table=table, spread=spread, against=compared))
    for name in ("means.csv", "table.tex"):
        path.with_name(f"{path.stem}.{name}").write_text(found[name], encoding="utf-8")
    return path
