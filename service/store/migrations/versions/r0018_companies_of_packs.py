"""Which attempts are trained as one pack, so that its members come back together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Apply."""
    op.add_column("attempt", sa.Column("pack", sa.Uuid(), nullable=True))
    op.create_index(
        "attempt_by_pack", "attempt", ["pack"], postgresql_where=sa.text("pack is not null")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("attempt_by_pack", "attempt")
    op.drop_column("attempt", "pack")
