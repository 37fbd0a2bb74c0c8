"""Files' places relative to the folder of job folders, and the release that serves the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

# Everything up to the job's own folder goes; other paths stay as they are.
_PLACES = """
    update artifact set path = substring(path from position('/' || job::text || '/' in path) + 1)
    where position('/' || job::text || '/' in path) > 0
"""


# Workers of earlier releases say neither their version nor their schema.
_REFUSE = """
    create function refuse_other_releases() returns trigger language plpgsql as $$
    declare
        its record;
        needed text := (select version_num from alembic_version);
        served text := (select version from release);
    begin
        select version, revision into its from worker where id = new.worker;
        if found and (its.revision is distinct from needed or (served is not null and
            (string_to_array(its.version, '.'))[1:2] is distinct from
            (string_to_array(served, '.'))[1:2]))
        then
            raise exception 'worker % of normlab % (schema %) may take no jobs of normlab % '
                '(schema %): install the same release on its host',
                new.worker, coalesce(its.version, 'unknown'), coalesce(its.revision, 'unknown'),
                coalesce(served, 'unknown'), needed
                using errcode = 'object_not_in_prerequisite_state';
        end if;
        return new;
    end $$
"""
_TRIGGER = """
    create trigger refuse_other_releases before insert on attempt
    for each row execute function refuse_other_releases()
"""


def upgrade() -> None:
    """Apply."""
    op.execute(_PLACES)
    op.add_column("worker", sa.Column("version", sa.Text(), nullable=True))
    op.add_column("worker", sa.Column("revision", sa.Text(), nullable=True))
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
    op.execute(_REFUSE)
    op.execute(_TRIGGER)


def downgrade() -> None:
    """Take back; a file's place stays relative, which earlier versions cannot read."""
    op.execute("drop trigger refuse_other_releases on attempt")
    op.execute("drop function refuse_other_releases")
    op.drop_table("release")
    op.drop_column("worker", "revision")
    op.drop_column("worker", "version")
