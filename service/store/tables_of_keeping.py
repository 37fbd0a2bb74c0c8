"""The tables of keep-rules, and of the files that they have removed."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text as sql,
)

from service.store.table_parts import MOMENT, NOW, job_column, metadata

# Without a row, or where a number of days is null, everything is kept.
keep_rule = Table(
    "keep_rule",
    metadata,
    Column("project", Text, ForeignKey("project.name"), primary_key=True),
    Column("checkpoints_days", Integer),
    Column("checkpoints_then", Text, nullable=False),
    Column("best_by", Text, nullable=False),
    Column("goal", Text, nullable=False),
    Column("weights_days", Integer),
    Column("logs_days", Integer),
    CheckConstraint("checkpoints_then in ('last_and_best', 'last', 'none')", name="then"),
    CheckConstraint("goal in ('maximize', 'minimize')", name="goal"),
)

# A file that a rule has discarded. It stays on disk for some minutes, in which a job that was
# accepted just before can restore it. After that, the row shows that it was removed.
discarded = Table(
    "discarded",
    metadata,
    job_column(),
    Column("path", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("step", BigInteger),
    Column("created_at", MOMENT, nullable=False),
    Column("discarded_at", MOMENT, nullable=False, server_default=NOW),
    Column("freed_at", MOMENT),
    Index("discarded_to_free", "discarded_at", postgresql_where=sql("freed_at is null")),
)
