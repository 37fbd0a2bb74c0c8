"""The tables of how many jobs there are, which triggers on the jobs keep."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from service.store.table_parts import metadata

# Jobs that are not in the trash; what `job_move` has comes on top.
job_count = Table(
    "job_count",
    metadata,
    Column("state", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)

# What was added and taken away since. Rows are only added: a count in place would be locked until
# the transaction that moves a job ends.
job_move = Table(
    "job_move",
    metadata,
    Column("state", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
)
