"""The tables of counts and words of jobs, kept by triggers, of what was used, and of loops."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Double,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.store.table_parts import MOMENT, job_column, metadata

# Jobs that are not in the trash; the rows of `job_move` are added to these counts.
job_count = Table(
    "job_count",
    metadata,
    Column("state", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)

# Changes since then. Rows are only added: a count that is updated in place would be locked until
# the transaction that moves a job ends.
job_move = Table(
    "job_move",
    metadata,
    Column("state", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
)

# The words by which a job can be found. Triggers write them when it is added or renamed. They are
# not in the job's row, because that is rewritten with each heartbeat of its worker.
job_index = Table(
    "job_index",
    metadata,
    job_column(),
    Column("words", ARRAY(Integer), nullable=False),
    Index("job_index_by_word", "words", postgresql_using="gin"),
)

# The last job that a background loop has examined. The row of `words` exists until the jobs from
# before `job_index` have their words.
loop_place = Table(
    "loop_place",
    metadata,
    Column("loop", Text, primary_key=True),
    Column("moment", MOMENT),
    Column("job", Uuid),
)


def _shard() -> Column[int]:
    """Number the rows that are summed: an addition locks its row until the transaction ends."""
    return Column("shard", SmallInteger, primary_key=True, autoincrement=False, server_default="0")


# By calendar month in UTC. The use of a purged job still counts.
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
