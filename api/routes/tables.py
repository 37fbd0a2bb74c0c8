"""Tables of jobs: chosen columns, means over seeds, comparisons, exports; several jobs at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api.auth import ReaderDep, SubmitterDep, check_may_change
from api.bodies import JsonRoute, answer
from api.costly import UNDER_WAY, costly, load_for_tables
from api.state import State, StateDep
from normlab.errors import FieldProblem, InvalidSpec
from normlab.not_finite import FIELD, Places, name_of, taken_out
from normlab.presentation.columns import plain_cell
from normlab.records.comparing import CompareQuestion, RunComparison
from normlab.records.tables import (
    Changed,
    ExportQuestion,
    FieldList,
    GroupQuestion,
    GroupTable,
    SeveralJobs,
    TableQuestion,
    TableRecord,
)
from normlab.specs.cells import label
from service.jobs import changes, names, table, trash
from service.results import run_comparison, seed_groups

router = APIRouter(tags=["tables"], route_class=JsonRoute)

MOST_EXPORTED = 100_000
_PAGE = 1000
_FILE = {"description": "the table as a file", "content": {"text/csv": {}, "application/json": {}}}


@router.get("/jobs:fields", response_model=FieldList)
@costly
def list_fields(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """List the names that filters and tables accept: columns, fields of specifications, metrics."""
    return answer(names.names(state.reads).model_dump_json())


@router.post("/jobs:table", response_model=TableRecord, responses=UNDER_WAY)
async def read_table(question: TableQuestion, reader: ReaderDep, state: StateDep) -> Response:
    """
    Return chosen columns of a page of jobs.

    A column is a column of job lists, a field of the specification (`optimizer.lr`), or a metric
    with a reduction (`val/accuracy:best`). `sort` is such a column too. `next_cursor` leads to the
    next page; `skip` leaves out rows after the cursor, to reach the middle.
    """
    work = partial(_page, state, question)
    key = (reader.owner, "table", question.model_dump_json())
    return await state.tables.answer_or_go_on(reader.owner, key, work)


@router.post(
    "/jobs:groups",
    response_model=GroupTable,
    responses=UNDER_WAY,
    dependencies=[Depends(load_for_tables)],
)
async def read_groups(question: GroupQuestion, reader: ReaderDep, state: StateDep) -> Response:
    """
    Average chosen columns over seeds, and over nothing else.

    The jobs of a row differ only in their seed. `differing` lists the fields in which rows differ
    and which no column shows.
    """
    key = (reader.owner, "groups", question.model_dump_json())
    work = partial(seed_groups.table, state.reads, question)
    return await state.tables.answer_or_go_on(reader.owner, key, work)


@router.post(
    "/jobs:compare",
    response_model=RunComparison,
    responses=UNDER_WAY,
    dependencies=[Depends(load_for_tables)],
)
async def compare_runs(question: CompareQuestion, reader: ReaderDep, state: StateDep) -> Response:
    """Compare up to 100 runs: the fields in which they differ, and a metric paired over seeds."""
    key = (reader.owner, "compare", question.model_dump_json())
    work = partial(run_comparison.compare, state.reads, question)
    return await state.tables.answer_or_go_on(reader.owner, key, work)


@router.post("/jobs:export", responses={**UNDER_WAY, 200: _FILE})
async def export_table(question: ExportQuestion, reader: ReaderDep, state: StateDep) -> Response:
    """Write chosen columns of up to 100,000 jobs as CSV or JSON; more are refused, not cut off."""
    key = (reader.owner, "export", question.model_dump_json())
    return await state.tables.answer_or_go_on(reader.owner, key, lambda: _exported(state, question))


@router.post("/jobs:cancel")
def cancel_jobs(asked: SeveralJobs, caller: SubmitterDep, state: StateDep) -> Changed:
    """Cancel several jobs; the answer lists those that cannot be cancelled, and why."""

    def cancel(job: str) -> None:
        check_may_change(caller, state.things.look_up("job", job))
        changes.cancel(state.database, job, by=caller.actor)

    return changes.change_each(asked.jobs, cancel)


@router.post("/jobs:delete")
def delete_jobs(asked: SeveralJobs, caller: SubmitterDep, state: StateDep) -> Changed:
    """Move several jobs into the trash; the answer lists those that cannot be moved, and why."""

    def delete(job: str) -> None:
        check_may_change(caller, state.things.look_up("job", job))
        trash.trash(state.database, job, by=caller.actor)

    return changes.change_each(asked.jobs, delete)


def _page(state: State, question: TableQuestion) -> Response:
    found = table.read(state.reads, question)
    record = {
        "columns": [{"name": of.name, "kind": of.kind} for of in found.columns],
        "rows": [
            {"id": row.id, "state": row.state, "owner": row.owner, **_values(found.values(row))}
            for row in found.rows
        ],
        "next_cursor": found.next_cursor,
        "total": found.total,
        "gone": found.gone,
    }
    return answer(orjson.dumps(record))  # its queries have validated it already


def _values(values: list[Any]) -> dict[str, Any]:
    # orjson writes null for NaN and infinity
    named = ((i, name_of(v)) for i, v in enumerate(values) if type(v) is float)
    return {"values": values, FIELD: {f"/values/{i}": name for i, name in named if name}}


def _exported(state: State, question: ExportQuestion) -> Response:
    rows = _all_rows(state, question)
    if question.form == "csv":
        content, kind = _csv(question.columns, rows), "text/csv; charset=utf-8"
    else:
        listed = [_listed(dict(zip(["id", *question.columns], row, strict=True))) for row in rows]
        content, kind = orjson.dumps(listed), "application/json"
    named = {"Content-Disposition": f'attachment; filename="runs.{question.form}"'}
    return Response(content, media_type=kind, headers=named)


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    named: Places = {}
    found = taken_out(row, named)
    return {**found, FIELD: named} if named else found


def _all_rows(state: State, question: ExportQuestion) -> Iterator[list[object]]:
    asked = TableQuestion(**question.model_dump(exclude={"form"}), limit=_PAGE)
    for _ in range(MOST_EXPORTED // _PAGE):
        page = table.read(state.reads, asked)
        yield from ([str(row.id), *page.values(row)] for row in page.rows)
        if page.next_cursor is None:
            return
        asked = asked.model_copy(update={"cursor": page.next_cursor})
    rule = f"more than {MOST_EXPORTED:,} jobs match, the limit of one file; narrow the filter"
    raise InvalidSpec.of([FieldProblem("filter", rule)])


def _csv(columns: list[str], rows: Iterable[list[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", *map(plain_cell, columns)])
    writer.writerows([plain_cell(_cell(value)) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return label(value) if isinstance(value, dict | list) else value
