"""What was found each time that a study which decides was looked at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "study_look",
        sa.Column("study", sa.Uuid(), nullable=False),
        sa.Column("seeds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("comparison", sa.Text(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("finding", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["study"], ["study.id"], name=op.f("study_look_study_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study", "seeds", "comparison", name=op.f("study_look_pkey")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("study_look")
