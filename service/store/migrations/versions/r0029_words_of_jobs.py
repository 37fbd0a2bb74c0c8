"""What each job can be found by, in an index: its owner, its fields, and parts of its name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"

# Words are numbers, as texts of that length would double the size of a store. Two may be equal by
# chance, so whoever looks them up compares the fields too.
_FUNCTIONS = (
    """
    create function job_word(field text, value text) returns int language sql immutable as
    $$ select ('x' || left(md5(field || '=' || value), 8))::bit(32)::int $$
    """,
    """
    create function job_number(field text, value float8) returns int language sql immutable as
    $$ select job_word(field || '#', encode(float8send(value + 0), 'hex')) $$
    """,
    # three letters each; of ASCII alone, whose small letters are the same in every locale
    """
    create function job_parts(name text) returns int[] language sql immutable as $$
        select coalesce(array_agg(distinct job_word('~', part)), '{}')
        from (select lower(name collate "C") as small) as name,
            generate_series(1, length(small) - 2) as i, substr(small, i, 3) as part
        where octet_length(part) = 3
    $$
    """,
    """
    create function job_words_of(job) returns int[] language sql stable as $$
        with outer_field as (
            select key as path, value from jsonb_each($1.spec)
        ), middle_field as (
            select path || '.' || inside.key as path, inside.value
            from outer_field, jsonb_each(value) as inside
            where jsonb_typeof(outer_field.value) = 'object'
        ), inner_field as (
            select path || '.' || inside.key as path, inside.value
            from middle_field, jsonb_each(value) as inside
            where jsonb_typeof(middle_field.value) = 'object'
        )
        select array_agg(distinct word) from (
            select case jsonb_typeof(value)
                when 'number' then job_number(path, (value #>> '{}')::float8)
                else job_word(path, value #>> '{}') end as word
            from (
                table outer_field union all table middle_field union all table inner_field
            ) as field where jsonb_typeof(value) in ('number', 'string', 'boolean')
            union all
            select job_word('job.' || name, value) from (values
                ('owner', $1.owner), ('project', $1.project), ('device', $1.device),
                ('normalizer', $1.normalizer), ('model', $1.model), ('dataset', $1.dataset),
                ('study', case when $1.name is null then $1.study::text end)
            ) as own(name, value) where value is not null
            union all
            select job_number('job.' || name, value) from (values
                ('batch_size', $1.batch_size), ('samples_per_update', $1.samples_per_update),
                ('epochs', $1.epochs)
            ) as own(name, value)
            union all
            select unnest(job_parts($1.name)) where $1.name is not null
        ) as words
    $$
    """,
    """
    create function note_words_of_jobs() returns trigger language plpgsql as $$
    begin
        insert into job_words (job, words)
        select job.id, job_words_of(job) from job where id in (select id from added);
        return null;
    end $$
    """,
    """
    create function change_words_of_job() returns trigger language plpgsql as $$
    begin
        update job_words set words = job_words_of(new) where job = new.id;
        return null;
    end $$
    """,
)
_TRIGGERS = (
    "create trigger note_words_of_jobs after insert on job referencing new table as added"
    " for each statement execute function note_words_of_jobs()",
    "create trigger change_words_of_job after update of name on job for each row"
    " when (old.name is distinct from new.name) execute function change_words_of_job()",
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "job_words",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("words", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name="job_words_job_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", name="job_words_pkey"),
    )
    for statement in _FUNCTIONS:
        op.execute(statement)
    # the next revision has the words of earlier jobs written in the background
    for statement in _TRIGGERS:
        op.execute(statement)
    op.create_index("job_words_by_word", "job_words", ["words"], postgresql_using="gin")


def downgrade() -> None:
    """Take back."""
    for name in ("note_words_of_jobs", "change_words_of_job"):
        op.execute(f"drop trigger {name} on job")
        op.execute(f"drop function {name}")
    op.drop_table("job_words")
    op.execute("drop function job_words_of(job)")
    op.execute("drop function job_parts(text)")
    op.execute("drop function job_number(text, float8)")
    op.execute("drop function job_word(text, text)")
