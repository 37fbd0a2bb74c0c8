"""Figures of a study for a paper, drawn here from what the service answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:
    from normlab.client.studies import Studies


def draw(
    studies: Studies,
    study: str,
    target: Union[str, Path],
    group_by: Sequence[str],
    where: Optional[Mapping[str, str]],
    against: Optional[Tuple[str, str]],
    spread: str,
    question: Mapping[str, Any],
) -> Path:
    """Draw into *target*, and write the numbers beside it; return the picture's path."""
    from normlab.presentation.figures import Question, beside
    from normlab.presentation.plots import save

    table = studies.results(study, group_by=group_by, where=where, **question)
    compared = None
    if against is not None:
        compared = studies.differences(study, *against, where=where, **question)
    path = save(table, Path(target), spread, compared)
    found = beside(Question(table=table, spread=spread, against=compared))
    for name in ("means.csv", "table.tex"):
        path.with_name(f"{path.stem}.{name}").write_text(found[name], encoding="utf-8")
    return path
