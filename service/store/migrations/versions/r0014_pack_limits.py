"""Packs of jobs: the members of one that trained a job, and the most after one has failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("pack_limit", sa.SmallInteger(), nullable=True))
    op.add_column("job", sa.Column("packed", sa.SmallInteger(), nullable=True))
    op.execute(
        """
        update job set packed = (
            select max((environment ->> 'packed')::smallint) from attempt where job = job.id
        ) where runtime = 'packed'
        """
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("job", "packed")
    op.drop_column("job", "pack_limit")
