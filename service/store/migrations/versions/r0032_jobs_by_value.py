"""An index of the last values of each metric in their order: for the best jobs, and for filters."""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Apply."""
    op.create_index("metric_last_by_value", "metric_last", ["key", "value", "job"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("metric_last_by_value", table_name="metric_last")
