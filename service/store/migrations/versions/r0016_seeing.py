"""What operators watch: counts of attempts, the request of a job, and messages to webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Apply; studies that are there already are not announced any more."""
    op.create_table(
        "tally",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("failure_kind", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "device", "outcome", "failure_kind", name="tally_pkey"),
    )
    op.add_column("job", sa.Column("request", sa.Text(), nullable=True))
    op.add_column("worker", sa.Column("lost_at", _MOMENT, nullable=True))
    op.add_column("study", sa.Column("announced_at", _MOMENT, nullable=True))
    op.execute("update study set announced_at = clock_timestamp()")
    op.create_index(
        "study_unannounced",
        "study",
        ["id"],
        postgresql_where=sa.text("announced_at is null or announced_at < asked_at"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("due_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered_at", _MOMENT, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="delivery_pkey"),
    )
    op.create_index(
        "delivery_due", "delivery", ["due_at"], postgresql_where=sa.text("delivered_at is null")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("delivery")
    op.drop_index("study_unannounced", table_name="study")
    op.drop_column("study", "announced_at")
    op.drop_column("worker", "lost_at")
    op.drop_column("job", "request")
    op.drop_table("tally")
