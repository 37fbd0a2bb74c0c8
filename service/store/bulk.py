"""Insert many rows at once with PostgreSQL's COPY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from psycopg import sql
from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql import JSONB

from service.store.database import cursor_of


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows* into *table*; all of them have the same columns, and none exists yet."""
    if not rows:
        return
    names = list(rows[0])
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    copy = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table.name), columns)
    as_json = [isinstance(table.c[name].type, JSONB) for name in names]
    with cursor_of(connection).copy(copy) as stream:
        for row in rows:
            stream.write_row([
                orjson.dumps(row[name]).decode() if encoded else row[name]
                for name, encoded in zip(names, as_json, strict=True)
            ])  # fmt: skip
