"""Indexes for filters that few jobs match."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Apply."""
    op.create_index("job_by_seed", "job", ["seed"])
    named = sa.text("name is not null")
    op.create_index("job_by_name", "job", ["name"], postgresql_where=named)


def downgrade() -> None:
    """Take back."""
    op.drop_index("job_by_name", table_name="job")
    op.drop_index("job_by_seed", table_name="job")
