"""Studies that queue, cancel and move their cells slice by slice; a pause is the study's alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply."""
    op.add_column("study", sa.Column("planned", sa.Integer(), server_default="0", nullable=False))
    op.add_column("study", sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "study", sa.Column("cancelling", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column("study", sa.Column("priority", sa.SmallInteger(), nullable=True))
    op.create_index("study_planned", "study", ["owner"], postgresql_where=sa.text("planned > 0"))
    op.create_index(
        "study_held",
        "study",
        ["id"],
        postgresql_where=sa.text("state = 'paused' or cancelling"),
    )
    op.drop_column("job", "held")


def downgrade() -> None:
    """Take back."""
    op.add_column("job", sa.Column("held", sa.Boolean(), server_default="false", nullable=False))
    op.execute(
        "update job set held = true from study"
        " where study.id = job.study and job.state = 'queued' and study.state = 'paused'"
    )
    op.drop_index("study_held", table_name="study")
    op.drop_index("study_planned", table_name="study")
    for column in ("priority", "cancelling", "asked_at", "planned"):
        op.drop_column("study", column)
