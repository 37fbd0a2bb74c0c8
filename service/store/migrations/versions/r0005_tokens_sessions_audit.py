"""Tokens with an id, an end and a note; sessions of the page; who did what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Apply."""
    _extend_tokens()
    op.create_table(
        "session",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("seen_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("session_pkey")),
        sa.UniqueConstraint("id", name=op.f("session_id_key")),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("audit_pkey")),
    )
    op.create_index("audit_by_owner", "audit", ["owner", "seq"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("audit")
    op.drop_table("session")
    op.drop_constraint("token_created_by_idempotency_key_key", "token")
    op.drop_constraint("token_id_key", "token")
    for name in ("successor", "idempotency_key", "created_by", "last_used_at", "expires_at",
                 "note", "id"):  # fmt: skip
        op.drop_column("token", name)


def _extend_tokens() -> None:
    # those of before get random ids; later ones sort by the time of their making
    made_up = sa.text("gen_random_uuid()")
    op.add_column("token", sa.Column("id", sa.Uuid(), server_default=made_up, nullable=False))
    op.alter_column("token", "id", server_default=None)
    op.add_column("token", sa.Column("note", sa.Text(), server_default="", nullable=False))
    op.add_column("token", sa.Column("expires_at", _MOMENT, nullable=True))
    op.add_column("token", sa.Column("last_used_at", _MOMENT, nullable=True))
    op.add_column("token", sa.Column("created_by", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("successor", sa.Uuid(), nullable=True))
    op.create_unique_constraint("token_id_key", "token", ["id"])
    op.create_unique_constraint(
        "token_created_by_idempotency_key_key", "token", ["created_by", "idempotency_key"]
    )
