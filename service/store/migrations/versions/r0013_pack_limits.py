"""The most members of a pack that a job may be in, after a pack with it has failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("pack_limit", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("job", "pack_limit")
