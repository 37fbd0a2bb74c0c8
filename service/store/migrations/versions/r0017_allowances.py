"""Limits that admins set for owners and projects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "allowance",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.CheckConstraint("subject in ('owner', 'project')", name=op.f("allowance_subject_check")),
        sa.PrimaryKeyConstraint("subject", "name", "what", name=op.f("allowance_pkey")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("allowance")
