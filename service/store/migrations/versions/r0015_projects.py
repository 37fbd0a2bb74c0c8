"""Projects and their members: each job, study and uploaded plugin belongs to a project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")
_LIVE = sa.text("trashed_at is null")


def upgrade() -> None:
    """Apply: whatever exists belongs to the default project, whose members are everybody."""
    op.create_table(
        "project",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("project_pkey")),
    )
    op.create_table(
        "member",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("added_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.CheckConstraint("role in ('read', 'submit', 'admin')", name=op.f("member_role_check")),
        sa.ForeignKeyConstraint(["project"], ["project.name"], name=op.f("member_project_fkey")),
        sa.PrimaryKeyConstraint("project", "owner", name=op.f("member_pkey")),
    )
    op.create_index("member_by_owner", "member", ["owner"])
    op.execute("insert into project (name) values ('default')")
    op.execute("insert into member (project, owner, role) values ('default', '*', 'submit')")
    for table in ("job", "study"):
        op.add_column(
            table, sa.Column("project", sa.Text(), server_default="default", nullable=False)
        )
        op.create_foreign_key(
            op.f(f"{table}_project_fkey"), table, "project", ["project"], ["name"]
        )
    _unique(["owner", "project"])
    op.create_index(
        "job_by_project", "job", ["project", sa.text("created_at desc"), sa.text("id desc")]
    )
    _uploads()


def downgrade() -> None:
    """Take back; of the same study or key in two projects, it fails and changes nothing."""
    op.drop_table("upload")
    op.drop_index("job_by_project", table_name="job")
    _unique(["owner"])
    for table in ("study", "job"):
        op.drop_column(table, "project")
    op.drop_table("member")
    op.drop_table("project")


def _unique(whose: list[str]) -> None:
    op.drop_index("job_once_per_key", table_name="job")
    op.create_index("job_once_per_key", "job", [*whose, "idempotency_key"], unique=True)
    op.drop_index("study_once", table_name="study")
    op.create_index(
        "study_once", "study", [*whose, "fingerprint"], unique=True, postgresql_where=_LIVE
    )


def _uploads() -> None:
    json = postgresql.JSONB(astext_type=sa.Text())
    op.create_table(
        "upload",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("origin", json, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["plugin.digest"], name=op.f("upload_digest_fkey")),
        sa.ForeignKeyConstraint(["project"], ["project.name"], name=op.f("upload_project_fkey")),
        sa.PrimaryKeyConstraint("digest", "project", name=op.f("upload_pkey")),
    )
    op.execute("""
        insert into upload (digest, project, owner, origin, created_at)
        select digest, 'default', owner, origin, created_at from plugin where owner is not null
    """)
