"""The trace of a job: what submitted it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("trace", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("job", "trace")
