"""An index from which the jobs of a table are counted, without reading the jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Apply."""
    listed = sa.text("trashed_at is null and archived_at is null")
    op.create_index("job_listed", "job", ["project", "study"], postgresql_where=listed)


def downgrade() -> None:
    """Take back."""
    op.drop_index("job_listed", table_name="job")
