"""Jobs on several hosts: how many, the seats of their workers, and where they meet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("hosts", sa.Integer(), server_default="1", nullable=False))
    op.create_index(
        "job_of_hosts",
        "job",
        ["device"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' and hosts > 1"),
    )
    op.add_column(
        "attempt",
        sa.Column(
            "hosts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
    )
    op.add_column("attempt", sa.Column("meeting", sa.Text(), nullable=True))
    op.create_table(
        "seat",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=True),
        sa.Column("live_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("leaving", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("ended", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["job"], ["job.id"], name=op.f("seat_job_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("seat_pkey")),
    )
    op.create_index("seat_by_job", "seat", ["job"], unique=False)
    op.create_index(
        "seat_offers",
        "seat",
        ["device"],
        unique=False,
        postgresql_where=sa.text("job is null"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("seat")
    op.drop_column("attempt", "meeting")
    op.drop_column("attempt", "hosts")
    op.drop_index("job_of_hosts", table_name="job")
    op.drop_column("job", "hosts")
