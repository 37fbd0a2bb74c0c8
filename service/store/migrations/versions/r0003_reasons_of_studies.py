"""Add the reason why a study failed or is stuck."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    op.add_column("study", sa.Column("reason", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("study", "reason")
