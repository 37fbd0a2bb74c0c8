"""Add cells of studies, and jobs that a paused study holds back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("held", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("study", sa.Column("fingerprint", sa.Text(), nullable=False))
    op.create_index("study_once", "study", ["owner", "fingerprint"], unique=True)
    op.create_table(
        "study_cell",
        sa.Column("study", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("coordinates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("reused", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("pruned", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(
            ["study"], ["study.id"], name=op.f("study_cell_study_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job"], ["job.id"], name=op.f("study_cell_job_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("study", "key", name=op.f("study_cell_pkey")),
    )
    op.create_index("study_cell_by_job", "study_cell", ["job"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_table("study_cell")
    op.drop_index("study_once", table_name="study")
    op.drop_column("study", "fingerprint")
    op.drop_column("job", "held")
