"""The results of a study: its metrics, tables, comparisons and decision."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import ReaderDep
from api.bodies import JsonRoute, answer
from api.costly import UNDER_WAY, costly, going_on, load_for_tables
from api.questions import QuestionDep, WhereQuery
from api.state import StateDep
from normlab.presentation.tables import parquet, render, tidy
from normlab.records import ComparisonTable, ResultTable
from normlab.records.decisions import DecisionTable
from normlab.specs.cells import read_where
from service.studies import comparisons, decisions, details, results

router = APIRouter(tags=["studies"], route_class=JsonRoute)
_TYPES = {
    "csv": "text/csv",
    "means": "text/csv",
    "latex": "application/x-tex",
    "markdown": "text/markdown",
}
_PARQUET = "application/vnd.apache.parquet"
_TABLE: dict[str, Any] = {
    "description": "the table in the requested format",
    "content": {kind: {} for kind in (*_TYPES.values(), _PARQUET)},
}
_PATHS = Query(
    description="paths that form the rows; default: all; with seed there is one row per job. A "
    "path that is left out may not vary within a row"
)


@router.get("/studies/{study}/metrics", response_model=list[str])
@costly
def list_study_metrics(
    request: Request, study: str, reader: ReaderDep, state: StateDep
) -> Response:
    """List the metrics that any job of the study has reported."""
    return answer(json.dumps(details.reported(state.reads, study)))


@router.get(
    "/studies/{study}/results",
    response_model=ResultTable,
    dependencies=[Depends(load_for_tables)],
    responses={200: _TABLE, **UNDER_WAY},
)
@going_on
def get_results(
    request: Request,
    study: str,
    reader: ReaderDep,
    state: StateDep,
    question: QuestionDep,
    group_by: Annotated[list[str] | None, _PATHS] = None,
    where: WhereQuery = None,
    form: Annotated[
        Literal["json", "csv", "means", "parquet", "latex", "markdown"], Query(alias="format")
    ] = "json",
) -> Any:
    """
    Tabulate one metric over the study's cells.

    Rows are means over seeds only, with an interval. If the rows of a `group_by` would pool other
    paths, it is refused, and the error names the paths. Cells without a value are counted by state
    in `without`, never dropped. CSV and Parquet have one row per job for any `group_by`; `means` is
    a CSV of the rows themselves, and JSON has both. A large study takes a while:
    the answer is then 202 with `Retry-After`; send the same request again to get the table.
    """
    asked = question(state, study)
    one_row_per_job = form in ("csv", "parquet")
    paths = None if one_row_per_job else group_by
    table = results.results(state.reads, study, asked, paths, read_where(where or []))
    if form == "json":
        return table
    if form == "parquet":
        return partial(_parquet, table)
    name = {"latex": "results.tex", "markdown": "results.md", "means": "means.csv"}
    return _file(render(table, form).encode(), _TYPES[form], name.get(form, f"results.{form}"))


@router.get(
    "/studies/{study}/compare",
    response_model=ComparisonTable,
    dependencies=[Depends(load_for_tables)],
    responses=UNDER_WAY,
)
@going_on
def compare_results(
    request: Request,
    study: str,
    axis: str,
    a: str,
    b: str,
    reader: ReaderDep,
    state: StateDep,
    question: QuestionDep,
) -> ComparisonTable:
    """Compare two values of one axis, seed by seed: a minus b, with its interval."""
    return comparisons.compare(state.reads, study, question(state, study), axis, a, b)


@router.get(
    "/studies/{study}/decision",
    response_model=DecisionTable,
    dependencies=[Depends(load_for_tables)],
    responses=UNDER_WAY,
)
@going_on
def get_decision(request: Request, study: str, reader: ReaderDep, state: StateDep) -> DecisionTable:
    """
    Say which comparisons of a study that decides show, contradict or are undecided.

    Each has all looks that were taken, and an interval for each look that is valid although the
    data were looked at before. The sign of each effect is chosen so that positive is better.
    """
    return decisions.decision(state.reads, study)


def _parquet(table: ResultTable) -> Response:
    return _file(parquet(tidy(table)), _PARQUET, "results.parquet")


def _file(content: bytes, kind: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(content, media_type=kind, headers=disposition)
