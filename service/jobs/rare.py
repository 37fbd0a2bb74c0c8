"""
Find jobs with an index of words, if few jobs match a filter.

Without this, such a filter reads every job: PostgreSQL expects to fill a page soon. The words of a
job are numbers for its owner, for each field, and for each three and each five letters of its name
(`service/store/migrations/versions/r0029` and `r0030`). They only narrow a query; the query must
compare the fields too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Integer,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.jobs import indexing
from service.jobs.columns import COLUMNS
from service.jobs.conditions import path_of
from service.jobs.filters import All, Either, FieldComparison, Filter, Value
from service.store import schema

MOST = 5000
"""If there are more jobs than this, a page is filled sooner by looking at the newest ones."""
_MOST_STUDIES = 100
_PIECES = (5, 3)  # letters; longer pieces are in fewer names
_ASCII = re.compile(r"[\x00-\x7f]+")  # other letters have no words
_DEPTH = 3  # nested fields that have words
_TEXTS = ("owner", "project", "device", "normalizer", "model", "dataset")
_NUMBERS = ("batch_size", "samples_per_update", "epochs")
_words, _s = schema.job_index.c, schema.study.c
Condition = ColumnElement[bool]


def narrowed(connection: Connection, asked: Sequence[Filter]) -> list[Condition]:
    """
    Return a condition that keeps the jobs which may match all of *asked*. Empty if they may be
    more than MOST, if the words cannot decide, or while earlier jobs still lack words.
    """
    meets = _all(connection, asked)
    if meets is None or not indexing.is_whole(connection):
        return []
    if expected(connection, select(_words.job).where(meets)) > MOST:
        return []
    found = connection.execute(select(_words.job).where(meets).limit(MOST + 1)).scalars().all()
    return [schema.job.c.id == func.any(ids(found))] if len(found) <= MOST else []


def ids(jobs: Sequence[UUID]) -> ColumnElement[Any]:
    """Return *jobs* as an array for PostgreSQL."""
    return literal(list(jobs), ARRAY(schema.job.c.id.type))


def expected(connection: Connection, query: Select[Any]) -> float:
    """Return how many rows PostgreSQL expects, from its statistics of words."""
    asked = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    explained = f"explain (format json) {asked.string}"
    (plan,) = connection.exec_driver_sql(explained, dict(asked.params)).scalar_one()
    return float(plan["Plan"]["Plan Rows"])


def _all(connection: Connection, parts: Sequence[Filter]) -> Condition | None:
    meet = [part for part in map(partial(_of, connection), parts) if part is not None]
    return and_(*meet) if meet else None


def _of(connection: Connection, asked: Filter) -> Condition | None:
    """Return the condition on the words of a job that matches *asked*; None: they cannot decide."""
    if isinstance(asked, All):
        return _all(connection, asked.parts)
    if isinstance(asked, Either):
        meet = [_of(connection, part) for part in asked.parts]
        known = [part for part in meet if part is not None]
        return or_(*known) if len(known) == len(meet) else None
    if not isinstance(asked, FieldComparison):
        return None
    if asked.op == "~":
        named = asked.field == "name" and isinstance(asked.value, str)
        return _named(connection, str(asked.value)) if named else None
    return _equal(asked) if asked.op in ("=", "in") else None


def _equal(asked: FieldComparison) -> Condition | None:
    values = asked.value if isinstance(asked.value, tuple) else (asked.value,)
    words = [_word(asked.field, value) for value in values]
    known = [_has(word) for word in words if word is not None]
    return or_(*known) if len(known) == len(words) else None


def _has(word: ColumnElement[Any]) -> Condition:
    return _having(func.array_append(cast([], ARRAY(Integer)), word))


def _having(words: ColumnElement[Any]) -> Condition:
    found: Condition = _words.words.contains(words)
    return found


def _word(field: str, value: Value) -> ColumnElement[Any] | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field in (_NUMBERS if is_number else _TEXTS):
        place = f"job.{field}"
    elif field in COLUMNS or "/" in field or not (is_number or _is_a_text(value)):
        return None
    else:
        place = path_of(field)
        if place.count(".") >= _DEPTH:
            return None
    if is_number:
        return func.job_number(place, literal(float(value), Double))
    said = str(value).lower() if isinstance(value, bool) else str(value)
    return func.job_word(place, literal(said, Text))


def _is_a_text(value: Value) -> bool:
    """Return whether no number, list or object of a specification is written as *value*."""
    said = str(value)
    try:
        float(said)
    except ValueError:
        return said[:1] not in ("[", "{")
    return False


def _named(connection: Connection, part: str) -> Condition | None:
    """Return the condition that this part is in the job's own name, or in the name of its study."""
    size = _piece_of(part)
    if size is None:
        return None
    query = select(_s.id).where(_s.name.icontains(part, autoescape=True)).limit(_MOST_STUDIES + 1)
    studies = connection.execute(query).scalars().all()
    if len(studies) > _MOST_STUDIES:
        return None
    of_studies = [_has(func.job_word("job.study", literal(str(study), Text))) for study in studies]
    return or_(_having(func.job_pieces(literal(part, Text), size)), *of_studies)


def _piece_of(part: str) -> int | None:
    """Return the length of the pieces of names by which *part* is found; None: it is too short."""
    longest = max(map(len, _ASCII.findall(part)), default=0)
    return next((size for size in _PIECES if longest >= size), None)
