"""The tables of what owners and projects have used, added up when attempts end."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Double, SmallInteger, Table, Text

from service.store.table_parts import metadata


def _shard() -> Column[int]:
    """Number the rows that are summed: an addition locks its row until the transaction ends."""
    return Column("shard", SmallInteger, primary_key=True, autoincrement=False, server_default="0")


# By the calendar month in UTC. What a purged job has used stays used.
device_time = Table(
    "device_time",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("month", Date, primary_key=True),  # its first day
    _shard(),
    Column("device_s", Double, nullable=False),
)

# Their sum is that of `stored_bytes` of the jobs of an owner in a project.
storage = Table(
    "storage",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    _shard(),
    Column("bytes", BigInteger, nullable=False),
)
