"""What jobs load, and what workers can load: code, packages, and plugins that were tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

_CODE = """
    update job set code = array(select jsonb_array_elements_text(spec -> 'code'))
    where jsonb_array_length(coalesce(spec -> 'code', '[]')) > 0
"""


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "job",
        sa.Column(
            "code", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    op.execute(_CODE)
    op.add_column(
        "plugin",
        sa.Column("in_force", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    json = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("worker", sa.Column("packages", json, nullable=True))
    op.add_column(
        "worker", sa.Column("loads", json, server_default=sa.text("'{}'"), nullable=False)
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("worker", "loads")
    op.drop_column("worker", "packages")
    op.drop_column("plugin", "in_force")
    op.drop_column("job", "code")
