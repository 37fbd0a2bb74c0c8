"""Jobs as records: columns of the table, last values of metrics, and what a job waits for."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
)

from normlab.records import JobRecord
from service.jobs import running_limits
from service.jobs.metric_values import is_finite
from service.jobs.running_limits import holding_back
from service.plugins import abilities
from service.store import schema

HELD = (
    "(study is not null and study = any(array("
    "select id from study where state = 'paused' or cancelling)))"
)
"""In SQL: whether the job's study holds it back. Such studies are found once per statement."""
_SHOWN = [c for c in schema.job.c if c.name in {*JobRecord.model_fields, "not_before", "code"}]
SHOWN = [c.name for c in _SHOWN]
"""The columns of the table that form a record."""
JOBS = select(*_SHOWN, literal_column(HELD).label("held"))
"""These columns for all jobs; callers add conditions."""
LIVE = """
    select device, count(distinct coalesce(facts ->> 'address', id)) as hosts
    from worker where live_until > clock_timestamp() group by device
"""
"""The kinds of device with a live worker, and on how many hosts these are."""
_LIVE = text(LIVE)
Unable = Mapping[tuple[str, tuple[str, ...]], str | None]
"""Why no live worker can load plugins, by the kind of device and their digests."""
_NOBODY: Unable = {}
Held = Mapping[tuple[str, str], running_limits.Held]
"""The limits that are reached, by owner or project."""
_UNLIMITED: Held = {}
_key, _last = schema.metric_key.c, schema.metric_last.c
_NONE: ColumnElement[Any] = literal_column("'{}'::json")
USUAL = or_(*(_key.name.startswith(start) for start in ("train/", "val/", "device/")))
"""Metrics that every list shows."""


def read_records(
    connection: Connection, jobs: Sequence[UUID], *, all_metrics: bool = False
) -> list[JobRecord]:
    """Return the records of those *jobs* that exist, in the same order."""
    shown = true() if all_metrics else USUAL
    found = connection.execute(with_stands(JOBS.where(schema.job.c.id.in_(jobs)), shown)).all()
    by_id = {row.id: row for row in found}
    return records_of(connection, [by_id[job] for job in jobs if job in by_id])


def with_stands(jobs: Select[Any], shown: ColumnElement[bool]) -> Select[Any]:
    """Add to each of *jobs* the last values of its metrics, by name."""
    job = jobs.subquery("listed")
    parts: list[ColumnElement[Any]] = [literal_column("'step'"), _last.step]
    names: list[ColumnElement[Any]] = []
    for number in (_last.value, _last.min, _last.max):
        parts += [literal_column(f"'{number.name}'"), case((is_finite(number), number))]
        names += [literal_column(f"'/{number.name}'"), _name_of(number)]
    named = func.json_strip_nulls(func.json_build_object(*names))
    whole = and_(*map(is_finite, (_last.value, _last.min, _last.max)))
    parts += [literal_column("'not_finite'"), case((whole, _NONE), else_=named)]
    by_name = func.json_object_agg(_key.name, func.json_build_object(*parts)).label("last")
    metrics = schema.metric_last.join(schema.metric_key)
    stands = select(by_name).select_from(metrics).where(_last.job == job.c.id, shown).lateral()
    return select(job, stands.c.last).select_from(job.join(stands, true()))


def _name_of(number: ColumnElement[float]) -> ColumnElement[str | None]:
    # PostgreSQL writes these as normlab.not_finite names them
    return case((not_(is_finite(number)), cast(number, Text)))


def records_of(connection: Connection, rows: Sequence[Row[Any]]) -> list[JobRecord]:
    """Make records from *rows* of JOBS, in the same order."""
    if not rows:
        return []
    queued = [row for row in rows if row.state == "queued"]
    live = {row.device: row.hosts for row in connection.execute(_LIVE)} if queued else {}
    needing = {_requirement(row._mapping) for row in queued}
    unable = _unable(connection, {one for one in needing if one[1]})
    held = holding_back(connection, queued)
    names = rows[0]._fields  # the same for all rows; `_asdict` per row takes longer
    return [record_of(dict(zip(names, row)), live, unable, held) for row in rows]


def _unable(connection: Connection, asked: Collection[tuple[str, tuple[str, ...]]]) -> Unable:
    if not asked:
        return {}
    plugins = {
        plugin.digest: plugin
        for plugin in abilities.wanted(connection, itertools.chain(*(code for _, code in asked)))
    }
    offered = abilities.offers(connection)
    return {
        (device, code): abilities.nobody_loads(
            device, [plugins[digest] for digest in code if digest in plugins], offered
        )
        for device, code in asked
    }


def _requirement(row: Mapping[Any, Any]) -> tuple[str, tuple[str, ...]]:
    return row["device"], abilities.required(row["code"], row["model"])


def record_of(
    row: Mapping[str, Any],
    live: Mapping[str, int],
    unable: Unable = _NOBODY,
    held: Held = _UNLIMITED,
) -> JobRecord:
    """
    Make a record from a *row*, given the kinds of device that are live, with their hosts.

    Args:
        row: the columns SHOWN; in `last` the last values of metrics, if there are any; and `held`,
            if its study may hold it back.
        unable: why live workers cannot load the plugins of the job, if it has some.
        held: the limits of its owner and project that are reached.
    """
    study = row["study"]
    values = {
        **row,
        "id": str(row["id"]),
        "study": None if study is None else str(study),
        "waiting_for": _waiting_for(row, live, unable, held),
        "last": row.get("last") or {},
    }
    return JobRecord.model_validate(values)


def _waiting_for(
    row: Mapping[str, Any], live: Mapping[str, int], unable: Unable, held: Held
) -> str | None:
    if row["state"] != "queued":
        return None
    if row.get("held"):
        return "its study, which is paused or being cancelled"
    for whose in (("owner", row["owner"]), ("project", row["project"])):
        if whose in held:
            return str(held[whose])
    if row["device"] not in live:
        return f"a worker for {row['device']}: none is live now"
    if row["hosts"] > live[row["device"]]:
        return (
            f"workers for {row['device']} on {row['hosts']} hosts: "
            f"{live[row['device']]} of them live now"
        )
    lacking = unable.get(_requirement(row))
    if lacking is not None:
        return f"a worker for {row['device']} that can load its code; no live one can ({lacking})"
    if row["not_before"] is not None:
        pause = f"a pause until {row['not_before']:%H:%M:%S %Z}"
        return f"{pause}, before attempt {row['attempt'] + 1}"
    if row["hosts"] > 1:
        return f"its turn at workers for {row['device']} on {row['hosts']} hosts"
    return f"its turn at a worker for {row['device']}"
