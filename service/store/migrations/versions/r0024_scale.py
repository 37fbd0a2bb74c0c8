"""What stores of a million jobs and hundreds of workers need: indexes, and counts in many rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_COUNTED = ["name", "device", "outcome", "failure_kind"]


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "job_by_state", "job", ["state", "device"], postgresql_where=sa.text("trashed_at is null")
    )
    op.create_index("job_by_end", "job", ["finished_at"])
    op.add_column(
        "tally", sa.Column("shard", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.drop_constraint("tally_pkey", "tally")
    op.create_primary_key("tally_pkey", "tally", [*_COUNTED, "shard"])


def downgrade() -> None:
    """Take back."""
    op.execute("""
        create temporary table summed as
            select name, device, outcome, failure_kind, sum(n)::bigint as n
            from tally group by name, device, outcome, failure_kind
    """)
    op.execute("delete from tally")
    op.drop_constraint("tally_pkey", "tally")
    op.drop_column("tally", "shard")
    op.create_primary_key("tally_pkey", "tally", _COUNTED)
    op.execute("insert into tally select name, device, outcome, failure_kind, n from summed")
    op.execute("drop table summed")
    op.drop_index("job_by_end", table_name="job")
    op.drop_index("job_by_state", table_name="job")
