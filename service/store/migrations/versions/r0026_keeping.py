"""What projects keep of ended jobs, and the files that went by their rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "keep_rule",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("checkpoints_days", sa.Integer(), nullable=True),
        sa.Column("checkpoints_then", sa.Text(), nullable=False),
        sa.Column("best_by", sa.Text(), nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("weights_days", sa.Integer(), nullable=True),
        sa.Column("logs_days", sa.Integer(), nullable=True),
        sa.CheckConstraint("checkpoints_then in ('last_and_best', 'last', 'none')", name="then"),
        sa.CheckConstraint("goal in ('maximize', 'minimize')", name="goal"),
        sa.ForeignKeyConstraint(["project"], ["project.name"]),
        sa.PrimaryKeyConstraint("project", name=op.f("keep_rule_pkey")),
    )
    op.create_table(
        "discarded",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("discarded_at", _MOMENT, nullable=False,
                  server_default=sa.text("clock_timestamp()")),
        sa.Column("freed_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "path", name=op.f("discarded_pkey")),
    )  # fmt: skip
    op.create_index(
        "discarded_to_free", "discarded", ["discarded_at"],
        postgresql_where=sa.text("freed_at is null"),
    )  # fmt: skip


def downgrade() -> None:
    """Take back; what the rules have removed stays removed."""
    op.drop_table("discarded")
    op.drop_table("keep_rule")
