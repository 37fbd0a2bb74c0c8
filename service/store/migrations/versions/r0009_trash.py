"""Deleted jobs and studies wait in the trash; a study in it can be made again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_MOMENT = sa.DateTime(timezone=True)
_TRASHED = sa.text("trashed_at is not null")


def upgrade() -> None:
    """Apply."""
    for table in ("job", "study"):
        op.add_column(table, sa.Column("trashed_at", _MOMENT, nullable=True))
    op.create_index("job_trashed", "job", ["trashed_at"], postgresql_where=_TRASHED)
    op.drop_index("study_once", table_name="study")
    op.create_index(
        "study_once",
        "study",
        ["owner", "fingerprint"],
        unique=True,
        postgresql_where=sa.text("trashed_at is null"),
    )


def downgrade() -> None:
    """Take back; what is in the trash is deleted."""
    op.execute("delete from study where trashed_at is not null")
    op.execute("delete from job where trashed_at is not null")
    op.drop_index("study_once", table_name="study")
    op.create_index("study_once", "study", ["owner", "fingerprint"], unique=True)
    op.drop_index("job_trashed", table_name="job")
    for table in ("study", "job"):
        op.drop_column(table, "trashed_at")
