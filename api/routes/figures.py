"""What a paper needs from a study: differences, figures with their data, the trials of a search."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import ReaderDep
from api.bodies import JsonRoute
from api.costly import UNDER_WAY, going_on, load_for_tables
from api.questions import QuestionDep, WhereQuery
from api.state import StateDep
from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.presentation.figures import FigureQuestion as Figure
from normlab.records import DifferenceTable, SearchHistory
from normlab.specs.cells import read_where
from service.studies import differences, results, search_history

router = APIRouter(tags=["studies"], route_class=JsonRoute)

_TYPES = {
    "svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png", "zip": "application/zip",
}  # fmt: skip
_FILE: dict[str, Any] = {
    "description": "the figure; a ZIP has it as SVG and PDF, its numbers as CSV, and LaTeX",
    "content": {kind: {} for kind in _TYPES.values()},
}
_AXIS = Query(max_length=200, description="the path whose value is the reference")
_AGAINST = Query(max_length=2000, description="the label of the reference value")
_PATHS = Query(
    description="one to three paths: first that of the lines, or of the rows of a heat map; "
    "then that of the horizontal axis; then that of the panels"
)
_SPREAD = Query(description="what is drawn around a mean")
_WITHIN_S = 60.0  # for drawing a figure
_INVALID, _NO_LIBRARY = 2, 3  # exit codes of the process that draws


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
    question: QuestionDep,
    where: WhereQuery = None,
) -> DifferenceTable:
    """
    Subtract from each row the row with the reference value that is otherwise equal, seed by seed.

    Each difference has its interval and the p of the paired t test, adjusted by Holm's method for
    all requested rows.
    """
    asked = question(state, study)
    chosen = read_where(where or [])
    return differences.differences(state.reads, study, asked, axis, against, chosen)


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
    question: QuestionDep,
    where: WhereQuery = None,
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
    asked = question(state, study)
    chosen = read_where(where or [])
    table = results.results(state.reads, study, asked, group_by, chosen)
    compared = None
    if axis is not None and against is not None:
        compared = differences.differences(state.reads, study, asked, axis, against, chosen)
    figure = Figure(table=table, spread=spread, against=compared, form=form)
    return partial(_file, figure)  # drawn after the turn, without the database


def _file(figure: Figure) -> Response:
    named = {"Content-Disposition": f'attachment; filename="figure.{figure.form}"'}
    return Response(_drawn(figure), media_type=_TYPES[figure.form], headers=named)


def _drawn(figure: Figure) -> bytes:
    """
    Return the file of *figure*, drawn in a process of its own: matplotlib is large.

    Raises:
        InvalidSpec: the table cannot be drawn; the message has the reason.
        ServiceUnavailable: this server has no matplotlib, or the process was too slow or failed.
    """
    command = [sys.executable, "-m", "normlab.presentation.figures"]
    content = figure.model_dump_json().encode()
    try:
        ended = subprocess.run(command, input=content, capture_output=True, timeout=_WITHIN_S)
    except subprocess.TimeoutExpired as e:
        raise ServiceUnavailable(f"the figure was not drawn within {_WITHIN_S:g} s") from e
    said = ended.stderr.decode(errors="replace").strip()
    if ended.returncode == _INVALID:
        raise InvalidSpec(said)
    if ended.returncode == _NO_LIBRARY:
        raise ServiceUnavailable(
            f"this server cannot draw ({said}): install normlab[study] there, or draw here with "
            "`normlab results STUDY --plot figure.pdf`"
        )
    if ended.returncode != 0:
        raise ServiceUnavailable(f"the figure was not drawn: {said[-500:]}")
    return ended.stdout


@router.get("/studies/{study}/search", response_model=SearchHistory, responses=UNDER_WAY)
@going_on
def get_search(request: Request, study: str, reader: ReaderDep, state: StateDep) -> SearchHistory:
    """
    Return the trials of a search in their order, the best one, and which parameters matter.

    Importance is that of Optuna's PED-ANOVA: what separates the best tenth of the trials.
    """
    return search_history.history(state.reads, study)
