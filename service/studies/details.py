"""What is stored of a study: its record, its cells and what its jobs reported."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from normlab.errors import NotFound
from normlab.records import CellPage, StudyDetail
from normlab.specs.studies import StudySpec
from service.store import schema
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.identity import parse_id
from service.studies.records import paths_of, read_cells, read_records

MOST_CELLS = 1000
"""The most cells on one page."""
_REPORTED = text("""
    select distinct k.name from study_cell c
    join metric_last l on l.job = c.job join metric_key k on k.id = l.key
    where c.study = :study order by 1
""")


def get(database: Database, study: str, cells: int = MOST_CELLS) -> StudyDetail:
    """
    Return a study with its first *cells* cells; raise NotFound if it does not exist.

    `list_cells` has the others.
    """
    with database.autocommit() as connection:
        key = parse_id(study, "study")
        found = read_records(connection, [key])
        if not found:
            raise unknown(study)
        spec = select(schema.study.c.spec).where(schema.study.c.id == key)
        content = connection.execute(spec).scalar_one()
        page = _cells(connection, key, None, cells)
        return StudyDetail(
            **found[0].model_dump(),
            spec=StudySpec.from_store(content),
            grid=page.cells,
            next_cursor=page.next_cursor,
        )


def list_cells(
    database: Database, study: str, cursor: str | None = None, limit: int = MOST_CELLS
) -> CellPage:
    """Return one page of the cells of *study*, in the order of its axes."""
    key = _found(database, study).id
    with database.autocommit() as connection:
        return _cells(connection, key, cursor, limit)


def paths(database: Database, study: str) -> list[str]:
    """Return the paths that *study* varies besides the seed."""
    return paths_of(_found(database, study).spec)


def reported(database: Database, study: str) -> list[str]:
    """Return the names of all metrics that any job of *study* has reported, sorted."""
    key = _found(database, study).id
    with database.autocommit() as connection:
        return [row.name for row in connection.execute(_REPORTED, {"study": key})]


def stored(database: Database, study: str) -> tuple[Any, StudySpec]:
    """Return the row of *study*, and its specification."""
    row = _found(database, study)
    return row, StudySpec.from_store(row.spec)


def factors(database: Database, study: str) -> list[list[str]]:
    """Return the paths of *study* that move together, a list for each axis."""
    return stored(database, study)[1].factors


def _found(database: Database, study: str) -> Any:
    with database.autocommit() as connection:
        query = select(schema.study).where(schema.study.c.id == parse_id(study, "study"))
        row = connection.execute(query).first()
    if row is None:
        raise unknown(study)
    return row


def _cells(connection: Connection, study: UUID, cursor: str | None, limit: int) -> CellPage:
    after = -1 if cursor is None else decode_cursor(cursor, "cells", [int])[0]
    cells, last = read_cells(connection, study, after, limit)
    return CellPage(
        cells=cells, next_cursor=None if last is None else encode_cursor("cells", [last])
    )


def unknown(study: str) -> NotFound:
    """Return the error for an unknown study."""
    return NotFound(f"there is no study {study!r}; the list of studies has all")
