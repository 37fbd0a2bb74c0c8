"""A store of any size, filled by SQL: jobs, last values, attempts, events and curves."""

from __future__ import annotations

from sqlalchemy import Connection, text

from normlab.events import Finished, Metrics, Series
from normlab.specs.jobs import JobSpec
from service.jobs import leases, submissions
from service.results import reports
from service.store.database import Database

METRIC = "val/accuracy"
CURVE = "train/loss"
POINTS = 1000  # of each job's curve, in one chunk, as after compaction
LONG = 100_000  # of the one long curve
OWNERS = 50
_AT_ONCE = 50_000  # jobs in one transaction
# As in a real store, ids grow with time, 1 of 100 jobs waits, and 1 of 100 has failed.
_JOBS = text("""
    with made as (
        select i, now() - i * interval '1 second' as at, md5(i::text) as hash,
            case i % 100 when 1 then 'queued' when 2 then 'failed' else 'succeeded' end as state
        from generate_series(cast(:first as int), cast(:last as int)) as i
    )
    insert into job (id, owner, name, request_hash, spec, fingerprint, normalizer, proxy, model,
        dataset, batch_size, samples_per_update, seed, device, device_reason, priority,
        max_attempts, state, attempt, step, steps, epochs, created_at, started_at, finished_at)
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
            || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
        'owner-' || i % :owners, 'job ' || i || ' of many', hash, one.spec, hash,
        (array['batch', 'layer', 'group', 'rms', 'instance', 'proxy'])[1 + i % 6], false,
        one.model, one.dataset, 1 << i % 7, 1 << i % 7, i, 'cpu', 'made by a benchmark', 0, 3,
        state, case state when 'queued' then 0 else 1 end, 1000, 1000, one.epochs, at,
        case state when 'queued' then null else at + interval '1 minute' end,
        case state when 'queued' then null else at + interval '1 hour' end
    from made, (
        select spec, model, dataset, epochs from job where owner = 'pattern' limit 1
    ) as one
""")
_REST = text("""
    with ended as (
        select id, started_at, finished_at, seed from job
        where seed between :first and :last and state <> 'queued' and owner <> 'pattern'
    ), attempts as (
        insert into attempt (job, number, worker, started_at, ended_at, outcome)
        select id, 1, 'worker-' || seed % 200, started_at, finished_at, 'succeeded' from ended
    ), events as (
        insert into event (job, kind, at)
        select id, kind, finished_at from ended, unnest(array['queued', 'succeeded']) as kind
    )
    insert into metric_last
        (job, key, attempt, step, value, min, min_step, max, max_step, total, points)
    select ended.id, k.id, 1, 1000, random(), 0, 1, 1, 1000, 500, 1000
    from ended, metric_key k where k.name in ('val/accuracy', 'train/loss')
""")
# Checks of keys and triggers would take most of the time, so the rows of triggers are made below.
_WITHOUT_TRIGGERS = text("set local session_replication_role = replica")
_TURNS = text("insert into turn (device, owner) select 'cpu', 'owner-' || i"
              " from generate_series(0, :owners - 1) as i on conflict do nothing")  # fmt: skip
_CURVES = text("""
    insert into metric_chunk (job, key, step0, attempt, step1, n, t0, steps, vals, times)
    select j.id, c.key, c.step0, 1, c.step1, c.n, c.t0, c.steps, c.vals, c.times
    from job j, (
        select m.* from metric_chunk m join job p on p.id = m.job
        where p.owner = 'pattern' and p.name = 'short'
    ) as c
    where j.seed between :first and :last and j.state <> 'queued' and j.owner <> 'pattern'
""")


_COUNTS = text("""
    insert into job_move (state, device, n)
    select state, device, count(*) from job where seed between :first and :last
        and owner <> 'pattern' group by 1, 2
""")
# As `job_words_of` returns them, but words that all jobs share are computed once.
_WORDS = text("""
    with shared as (
        select array_remove(job_words_of(jsonb_populate_record(one, jsonb_object(
            array['owner', 'normalizer', 'name', 'batch_size', 'samples_per_update'],
            array[null, null, null, null, null]
        ))), null) as words from job as one where owner = 'pattern' limit 1
    )
    insert into job_index (job, words)
    select id, shared.words || array[
        job_word('job.owner', owner), job_word('job.normalizer', normalizer),
        job_number('job.batch_size', batch_size),
        job_number('job.samples_per_update', samples_per_update)
    ] || array(
        select job_word('~', substr(name, i, size))
        from unnest(array[3, 5]) as size, generate_series(1, length(name) - size + 1) as i
    )
    from job, shared where seed between :first and :last and owner <> 'pattern'
""")
_WRONG = text("""
    select count(*) from job_index join job as one on one.id = job_index.job,
        lateral (select job_words_of(one) as words) as of
    where seed % 1000 = 7 and not (job_index.words @> of.words and of.words @> job_index.words)
""")


def prepare(database: Database) -> str:
    """Make the job that all others copy, and one with a long curve; return the latter."""
    with database.autocommit() as connection:
        connection.execute(text("alter table metric_chunk set unlogged"))  # halves the writing
        connection.execute(_TURNS, {"owners": OWNERS})
    _trained(database, "short", POINTS)
    return _trained(database, "long", LONG)


def grow(database: Database, have: int, want: int, curves: int) -> None:
    """Add jobs until there are *want*; the first *curves* of them have a curve of POINTS points."""
    for first in range(have + 1, want + 1, _AT_ONCE):
        last = min(want, first + _AT_ONCE - 1)
        with database.begin() as connection:
            connection.execute(text("set local synchronous_commit = off"))
            connection.execute(_WITHOUT_TRIGGERS)
            _add(connection, first, last, min(last, curves))
    with database.autocommit() as connection:
        assert connection.execute(_WRONG).scalar_one() == 0, "the words of some jobs are wrong"
        # not the table with the points of the chunks, because reading it takes minutes
        connection.execute(text("vacuum (process_toast false, analyze)"))


def _add(connection: Connection, first: int, last: int, curves: int) -> None:
    connection.execute(_JOBS, {"first": first, "last": last, "owners": OWNERS})
    for statement in (_REST, _COUNTS, _WORDS):
        connection.execute(statement, {"first": first, "last": last})
    if first <= curves:
        connection.execute(_CURVES, {"first": first, "last": curves})


def _trained(database: Database, name: str, points: int) -> str:
    spec = JobSpec.model_validate({"normalizer": "batch", "name": name, "priority": 1})
    job, _ = submissions.submit(
        database, spec, owner="pattern", device="cpu", device_reason="made by a benchmark"
    )
    lease = leases.claim(database, "cpu", "a-worker", 3600)
    assert lease is not None
    steps = list(range(1, points + 1))
    values = [1 / step for step in steps]
    series = Series(steps=steps, values=values, times=[0.1 * step for step in steps])
    last = Series(steps=[points], values=[0.5], times=[0.1 * points])
    told = Metrics(series={CURVE: series, METRIC: last})
    assert reports.keep_all(database, lease, [told])
    assert leases.finish(database, lease, Finished(step=points, summary={}))
    return job.id
