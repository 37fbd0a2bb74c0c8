"""An index of the values of one metric, by which large tables are sorted and filtered."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Apply."""
    op.create_index("metric_last_by_key", "metric_last", ["key", "job"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("metric_last_by_key", table_name="metric_last")
