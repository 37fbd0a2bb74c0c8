"""Device time and storage of owners and projects, and limits that exceed 32 bits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_BYTES = """
    (select coalesce(sum(bytes), 0) from artifact where artifact.job = job.id)
    + (select coalesce(sum(octet_length(steps) + octet_length(vals) + octet_length(times)), 0)
        from metric_chunk where metric_chunk.job = job.id)
    + (select coalesce(sum(size), 0) from log_segment where log_segment.job = job.id)
"""
_STORED = f"update job set stored_bytes = {_BYTES} where started_at is not null"
_STORAGE = """
    insert into storage (owner, project, bytes)
    select owner, project, sum(stored_bytes) from job group by owner, project
"""
_DEVICE_TIME = """
    insert into device_time (owner, project, month, device_s)
    select j.owner, j.project, m::date, sum(
        coalesce((j.spec ->> 'replicas')::int, 1)
        / greatest(1, coalesce((a.environment ->> 'packed')::float8, 1))
        * greatest(0, extract(epoch from
            least(a.ended_at, (m + interval '1 month') at time zone 'UTC')
            - greatest(a.started_at, m at time zone 'UTC'))))
    from attempt a join job j on j.id = a.job, generate_series(
        date_trunc('month', a.started_at at time zone 'UTC'), a.ended_at at time zone 'UTC',
        interval '1 month') m
    where a.ended_at is not null group by 1, 2, 3
"""


def upgrade() -> None:
    """Apply."""
    op.alter_column("allowance", "most", type_=sa.BigInteger())
    op.create_table(
        "device_time",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("device_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "project", "month", name=op.f("device_time_pkey")),
    )
    op.create_table(
        "storage",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "project", name=op.f("storage_pkey")),
    )
    stored = sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("job", stored)
    for statement in (_STORED, _STORAGE, _DEVICE_TIME):
        op.execute(statement)


def downgrade() -> None:
    """Take back; limits that do not fit into 32 bits are taken away."""
    op.drop_column("job", "stored_bytes")
    op.drop_table("storage")
    op.drop_table("device_time")
    op.execute("delete from allowance where most > 2147483647")
    op.alter_column("allowance", "most", type_=sa.Integer())
