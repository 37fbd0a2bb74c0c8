"""Files' places relative to the folder of job folders, and the release that serves the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0011"
branch_labels = None
depends_on = None

# Everything up to the job's own folder goes; other paths stay as they are.
_PLACES = """
    update artifact set path = substring(path from position('/' || job::text || '/' in path) + 1)
    where position('/' || job::text || '/' in path) > 0
"""


def upgrade() -> None:
    """Apply."""
    op.execute(_PLACES)
    op.create_table(
        "release",
        sa.Column("one", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("one", name=op.f("release_one_check")),
        sa.PrimaryKeyConstraint("one", name=op.f("release_pkey")),
    )


def downgrade() -> None:
    """Take back; a file's place stays relative, which earlier versions cannot read."""
    op.drop_table("release")
