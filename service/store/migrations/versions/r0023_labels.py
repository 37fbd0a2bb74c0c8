"""Notes, tags and the archive of jobs and studies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Apply."""
    for table in ("job", "study"):
        tags: sa.Column[list[str]] = sa.Column(
            "tags", ARRAY(sa.Text()), nullable=False, server_default="{}"
        )
        op.add_column(table, sa.Column("note", sa.Text(), nullable=True))
        op.add_column(table, tags)
        op.add_column(table, sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    tagged = sa.text("tags <> '{}'")
    op.create_index("job_tagged", "job", ["project"], postgresql_where=tagged)


def downgrade() -> None:
    """Take back."""
    op.drop_index("job_tagged", table_name="job")
    for table in ("study", "job"):
        for column in ("archived_at", "tags", "note"):
            op.drop_column(table, column)
