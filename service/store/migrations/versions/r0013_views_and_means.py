"""Saved views of tables of jobs, and sums of curves for the means in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply."""
    op.add_column("metric_last", sa.Column("total", sa.Double(), nullable=True))
    op.add_column("metric_last", sa.Column("points", sa.BigInteger(), nullable=True))
    op.create_index(
        "metric_last_to_add_up",
        "metric_last",
        ["job", "key"],
        unique=False,
        postgresql_where=sa.text("points is null"),
    )
    op.create_table(
        "saved_view",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("saved_view_pkey")),
        sa.UniqueConstraint("owner", "name", name=op.f("saved_view_owner_name_key")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("saved_view")
    op.drop_index("metric_last_to_add_up", table_name="metric_last")
    op.drop_column("metric_last", "points")
    op.drop_column("metric_last", "total")
