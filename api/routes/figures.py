"""What a paper needs of a study: differences from a reference, and figures with their data."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import ReaderDep
from api.bodies import JsonRoute
from api.costly import UNDER_WAY, going_on, load_for_tables
from api.drawing import drawn
from api.state import State, StateDep
from normlab.presentation.figures import Question as Figure
from normlab.records import DifferenceTable
from normlab.specs.cells import read_where
from normlab.specs.headlines import headline_of
from service.studies import differences, results, studies
from service.studies.cell_values import Question

router = APIRouter(tags=["studies"], route_class=JsonRoute)

_TYPES = {
    "svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png", "zip": "application/zip",
}  # fmt: skip
_FILE: dict[str, Any] = {
    "description": "the figure; a ZIP has it as SVG and PDF, its numbers as CSV, and LaTeX",
    "content": {kind: {} for kind in _TYPES.values()},
}
_AXIS = Query(max_length=200, description="the path that the reference is a value of")
_AGAINST = Query(max_length=2000, description="the label of the reference value")
_METRIC = Query(max_length=200, description="as for the results of a study")
_WHERE = Query(description="PATH=VALUE, as for the results of a study; may be repeated")
_PATHS = Query(
    description="one to three paths: lines, or the rows of a heat map; what is across; panels"
)
_SPREAD = Query(description="what is drawn around a mean")


@router.get(
    "/studies/{study}/differences",
    response_model=DifferenceTable,
    dependencies=[Depends(load_for_tables)],
    responses=UNDER_WAY,
)
@going_on
def get_differences(
    request: Request,
    study: str,
    axis: Annotated[str, _AXIS],
    against: Annotated[str, _AGAINST],
    reader: ReaderDep,
    state: StateDep,
    where: Annotated[list[str] | None, _WHERE] = None,
    metric: Annotated[str | None, _METRIC] = None,
    reduction: Annotated[str, Query(max_length=50)] = "last",
    interval: Literal["t", "bootstrap"] = "t",
    confidence: Annotated[float, Query(gt=0, lt=1)] = 0.95,
) -> DifferenceTable:
    """
    Subtract from each row the one with a reference value that is equal otherwise, by seed.

    Each difference has its interval and the p of the paired t test, adjusted after Holm for all
    rows that are asked for.
    """
    question = Question(metric or _shown(state, study), reduction, interval, confidence)
    chosen = read_where(where or [])
    return differences.differences(state.reads, study, question, axis, against, chosen)


@router.get(
    "/studies/{study}/figure",
    dependencies=[Depends(load_for_tables)],
    responses={200: _FILE, **UNDER_WAY},
)
@going_on
def get_figure(
    request: Request,
    study: str,
    group_by: Annotated[list[str], _PATHS],
    reader: ReaderDep,
    state: StateDep,
    where: Annotated[list[str] | None, _WHERE] = None,
    metric: Annotated[str | None, _METRIC] = None,
    reduction: Annotated[str, Query(max_length=50)] = "last",
    interval: Literal["t", "bootstrap"] = "t",
    confidence: Annotated[float, Query(gt=0, lt=1)] = 0.95,
    spread: Annotated[Literal["interval", "sd", "range", "none"], _SPREAD] = "interval",
    axis: Annotated[str | None, _AXIS] = None,
    against: Annotated[str | None, _AGAINST] = None,
    form: Annotated[Literal["svg", "pdf", "png", "zip"], Query(alias="format")] = "svg",
) -> Any:
    """
    Draw the figure that `normlab results --plot` draws.

    One path: its means and seeds. Two: lines over the numeric one, or a heat map. A third: one
    panel for each of its values. With `axis` and `against`, stars mark what differs from it.
    """
    question = Question(metric or _shown(state, study), reduction, interval, confidence)
    chosen = read_where(where or [])
    table = results.results(state.reads, study, question, group_by, chosen)
    compared = None
    if axis is not None and against is not None:
        asked = (question, axis, against, chosen)
        compared = differences.differences(state.reads, study, *asked)
    figure = Figure(table=table, spread=spread, against=compared, form=form)
    return partial(_file, figure)  # drawn after the turn has ended: it reads nothing any more


def _shown(state: State, study: str) -> str:
    return headline_of(studies.get(state.reads, study, 0).spec.base)


def _file(figure: Figure) -> Response:
    named = {"Content-Disposition": f'attachment; filename="figure.{figure.form}"'}
    return Response(drawn(figure), media_type=_TYPES[figure.form], headers=named)
