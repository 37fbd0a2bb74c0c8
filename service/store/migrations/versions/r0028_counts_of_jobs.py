"""Counts of jobs by state and device, kept by triggers, and the job that waits the longest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

# Rows are only added here, so that nobody who moves a job waits for somebody else.
_ADD = """
    create function count_added_jobs() returns trigger language plpgsql as $$
    begin
        insert into job_move (state, device, n)
        select state, device, count(*) from added where trashed_at is null group by 1, 2;
        return null;
    end $$
"""
_REMOVE = """
    create function count_removed_jobs() returns trigger language plpgsql as $$
    begin
        insert into job_move (state, device, n)
        select state, device, -count(*) from removed where trashed_at is null group by 1, 2;
        return null;
    end $$
"""
_MOVE = """
    create function count_moved_job() returns trigger language plpgsql as $$
    begin
        insert into job_move (state, device, n)
        select old.state, old.device, -1 where old.trashed_at is null
        union all
        select new.state, new.device, 1 where new.trashed_at is null;
        return null;
    end $$
"""
_TRIGGERS = (
    "create trigger count_added_jobs after insert on job referencing new table as added"
    " for each statement execute function count_added_jobs()",
    "create trigger count_removed_jobs after delete on job referencing old table as removed"
    " for each statement execute function count_removed_jobs()",
    "create trigger count_moved_job after update on job for each row when"
    " ((old.state, old.device, old.trashed_at is null) is distinct from"
    " (new.state, new.device, new.trashed_at is null)) execute function count_moved_job()",
)
_COUNTED = """
    insert into job_count (state, device, n)
    select state, device, count(*) from job where trashed_at is null group by 1, 2
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "job_count",
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state", "device", name="job_count_pkey"),
    )
    op.create_table(
        "job_move",
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
    )
    op.execute("lock table job in share row exclusive mode")
    op.execute(_COUNTED)
    for statement in (_ADD, _REMOVE, _MOVE, *_TRIGGERS):
        op.execute(statement)
    waits = sa.text("state = 'queued' and not cancel_requested and not_before is null")
    op.create_index("job_oldest", "job", ["device", "created_at"], postgresql_where=waits)
    pauses = sa.text("state = 'queued' and not_before is not null")
    op.create_index("job_paused", "job", ["device"], postgresql_where=pauses)


def downgrade() -> None:
    """Take back."""
    op.drop_index("job_paused", table_name="job")
    op.drop_index("job_oldest", table_name="job")
    for name in ("count_added_jobs", "count_removed_jobs", "count_moved_job"):
        op.execute(f"drop trigger {name} on job")
        op.execute(f"drop function {name}")
    op.drop_table("job_move")
    op.drop_table("job_count")
