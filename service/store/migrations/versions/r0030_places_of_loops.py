"""Words of longer parts of names, written in the background, and how far background loops came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"

_PIECES = """
    create function job_pieces(name text, size int) returns int[] language sql immutable as $$
        select coalesce(array_agg(distinct job_word('~', part)), '{}')
        from (select lower(name collate "C") as small) as name,
            generate_series(1, length(small) - size + 1) as i, substr(small, i, size) as part
        where octet_length(part) = size
    $$
"""
# Three letters are in the names of too many jobs of a large store, and five in those of few.
_PARTS = """
    create or replace function job_parts(name text) returns int[] language sql immutable as
    $$ select job_pieces(name, 3) || job_pieces(name, 5) $$
"""
_NOTE = """
    create or replace function note_words_of_jobs() returns trigger language plpgsql as $$
    begin
        insert into job_index (job, words)
        select job.id, job_words_of(job) from job where id in (select id from added)
        on conflict (job) do nothing;
        return null;
    end $$
"""
# an earlier job may have no words yet
_CHANGE = """
    create or replace function change_words_of_job() returns trigger language plpgsql as $$
    begin
        insert into job_index (job, words) values (new.id, job_words_of(new))
        on conflict (job) do update set words = excluded.words;
        return null;
    end $$
"""
_PARTS_BEFORE = """
    create or replace function job_parts(name text) returns int[] language sql immutable as $$
        select coalesce(array_agg(distinct job_word('~', part)), '{}')
        from (select lower(name collate "C") as small) as name,
            generate_series(1, length(small) - 2) as i, substr(small, i, 3) as part
        where octet_length(part) = 3
    $$
"""
_NOTE_BEFORE = _NOTE.replace("job_index", "job_words").replace("on conflict (job) do nothing", "")
_CHANGE_BEFORE = _CHANGE.replace("job_index", "job_words")
_BEGIN = "insert into loop_place (loop) select 'words' where exists (select from job)"
# Workers move jobs, and have no rights in the tables that triggers write and read.
_OF_TRIGGERS = (
    "count_added_jobs", "count_removed_jobs", "count_moved_job", "note_words_of_jobs",
    "change_words_of_job", "refuse_other_releases",
)  # fmt: skip


def _make(table: str, index: str) -> None:
    op.create_table(
        table,
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("words", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=f"{table}_job_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", name=f"{table}_pkey"),
    )
    op.create_index(index, table, ["words"], postgresql_using="gin")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "loop_place",
        sa.Column("loop", sa.Text(), nullable=False),
        sa.Column("moment", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("loop", name="loop_place_pkey"),
    )
    # A new name, because an API of the code before would take missing words for missing jobs. Who
    # adds a job waits here, and not inside of a function that is replaced. Dropping a table that
    # refers to jobs takes this lock anyway: later, it could deadlock.
    op.execute("lock table job in access exclusive mode")
    op.drop_table("job_words")
    _make("job_index", "job_index_by_word")
    for statement in (_PIECES, _PARTS, _NOTE, _CHANGE, _BEGIN):
        op.execute(statement)
    schema = op.get_bind().execute(sa.text("select quote_ident(current_schema())")).scalar_one()
    for function in _OF_TRIGGERS:
        op.execute(
            f"alter function {function}() security definer set search_path = {schema}, pg_temp"
        )


def downgrade() -> None:
    """Take back; a million jobs take some minutes."""
    op.execute("lock table job in access exclusive mode")
    for function in _OF_TRIGGERS:
        op.execute(f"alter function {function}() security invoker reset search_path")
    for statement in (_PARTS_BEFORE, _NOTE_BEFORE, _CHANGE_BEFORE):
        op.execute(statement)
    op.execute("drop function job_pieces(text, int)")
    op.drop_table("job_index")
    op.drop_table("loop_place")
    _make("job_words", "job_words_by_word")
    op.execute("insert into job_words (job, words) select id, job_words_of(job) from job")
