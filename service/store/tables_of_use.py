"""The tables of what owners and projects have used, added up when attempts end."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Double, Table, Text

from service.store.table_parts import metadata

# By the calendar month in UTC. What a purged job has used stays used.
device_time = Table(
    "device_time",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("month", Date, primary_key=True),  # its first day
    Column("device_s", Double, nullable=False),
)

# The sum of `stored_bytes` of the jobs of an owner in a project.
storage = Table(
    "storage",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)
