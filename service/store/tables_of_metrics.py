"""The tables of metrics: their names, their points in chunks, and the latest state of each."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from service.store.table_parts import job_column, metadata

metric_key = Table(
    "metric_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

metric_chunk = Table(
    "metric_chunk",
    metadata,
    job_column(),
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("step0", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step1", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("t0", Double, nullable=False),
    Column("steps", LargeBinary, nullable=False),
    Column("vals", LargeBinary, nullable=False),
    Column("times", LargeBinary, nullable=False),
    ForeignKeyConstraint(["key"], ["metric_key.id"]),
)

metric_last = Table(
    "metric_last",
    metadata,
    job_column(),
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("value", Double, nullable=False),
    Column("min", Double, nullable=False),
    Column("min_step", Integer, nullable=False),
    Column("max", Double, nullable=False),
    Column("max_step", Integer, nullable=False),
    # For the mean of the whole curve; null: written by an earlier version, not added up yet.
    Column("total", Double),
    Column("points", BigInteger),
    ForeignKeyConstraint(["key"], ["metric_key.id"]),
    Index("metric_last_to_add_up", "job", "key", postgresql_where=text("points is null")),
    Index("metric_last_by_key", "key", "job"),
    # To sort and filter by a metric. Each report updates this index, at no measurable cost.
    Index("metric_last_by_value", "key", "value", "job"),
)
