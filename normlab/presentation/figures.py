"""
A figure for a paper: the picture, the numbers beside it, and the table in LaTeX.

As a program it reads a FigureQuestion from standard input and writes the file to standard output,
so that a server can draw in a short process, and need not import matplotlib itself.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Dict, Optional

from pydantic import BaseModel

from normlab.errors import InvalidSpec
from normlab.presentation.tables import comma_separated, latex, means, tidy
from normlab.records import DifferenceTable, ResultTable

PICTURES = ("svg", "pdf", "png")
FORMS = (*PICTURES, "zip")


class FigureQuestion(BaseModel):
    """What is drawn."""

    table: ResultTable
    spread: str = "interval"
    against: Optional[DifferenceTable] = None
    form: str = "svg"


def figure(question: FigureQuestion) -> bytes:
    """
    Return the file.

    svg, pdf, png: the picture. zip: the picture as SVG and PDF, `means.csv` and `seeds.csv` with
    its numbers, `table.tex`, and `figure.json` with everything that it was made from.

    Raises:
        InvalidSpec: the table cannot be drawn.
    """
    from normlab.presentation.plots import check, draw

    check(question.table, question.spread)
    pictures = {}
    for form in PICTURES[:2] if question.form == "zip" else [question.form]:
        out = io.BytesIO()
        drawn = draw(question.table, question.spread, question.against)
        drawn.savefig(out, format=form, bbox_inches="tight", metadata=_undated(form))
        pictures[form] = out.getvalue()
    return _packed(question, pictures) if question.form == "zip" else pictures[question.form]


def beside(question: FigureQuestion) -> Dict[str, str]:
    """Return the texts for the files beside the picture, by the names of the files."""
    return {
        "means.csv": comma_separated(means(question.table, question.against)),
        "seeds.csv": comma_separated(tidy(question.table)),
        "table.tex": latex(question.table, question.spread),
        "figure.json": question.model_dump_json(indent=2, exclude={"form"}) + "\n",
    }


def draw_into(target: Path, question: FigureQuestion) -> Path:
    """Draw into *target*, and write the numbers beside it; return the picture's path."""
    from normlab.presentation.plots import save

    path = save(question.table, target, question.spread, question.against)
    found = beside(question)
    for name in ("means.csv", "table.tex"):
        path.with_name(f"{path.stem}.{name}").write_text(found[name], encoding="utf-8")
    return path


def _undated(form: str) -> Dict[str, None]:
    # the same question gives the same bytes
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})


def _packed(question: FigureQuestion, pictures: Dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for form, content in pictures.items():
            archive.writestr(f"figure.{form}", content)
        for name, text in beside(question).items():
            archive.writestr(name, text)
    return out.getvalue()


def main() -> int:
    """Draw; exit with 2 and the reason if this is not possible."""
    question = FigureQuestion.model_validate(json.load(sys.stdin))
    try:
        sys.stdout.buffer.write(figure(question))
    except (InvalidSpec, ImportError) as e:
        print(e, file=sys.stderr)
        return 2 if isinstance(e, InvalidSpec) else 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
