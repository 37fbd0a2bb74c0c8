"""A store as large as that of a busy group: jobs and their last values, made by SQL."""

from __future__ import annotations

from sqlalchemy import text

from service.store.database import Database
from tests.service.work import submit

METRICS = ("train/loss", "val/loss", "val/accuracy")

_JOBS = text("""
    insert into job (id, owner, name, request_hash, spec, fingerprint, normalizer, proxy, model,
        dataset, batch_size, samples_per_update, seed, device, device_reason, priority,
        max_attempts, state, step, epochs, created_at)
    select md5(i::text)::uuid, 'bob', 'job ' || i, 'h', spec, md5(i::text), normalizer, proxy,
        model, dataset, 1 + i % 64, 1 + i % 64, i, device, 'made by a test', 0, 3, 'succeeded',
        i % 1000, epochs, now() - i * interval '1 second'
    from job, generate_series(1, :n) as i where owner = 'ada'
""")
_KEYS = text("insert into metric_key (name) select unnest(cast(:names as text[]))")
_STANDS = text("""
    insert into metric_last (job, key, attempt, step, value, min, min_step, max, max_step)
    select job.id, metric_key.id, 1, 10, random(), 0, 0, 1, 0 from job, metric_key
    where owner = 'bob'
""")


def fill(database: Database, jobs: int) -> None:
    """Insert this number of finished jobs of bob, each with three metrics, and one of ada."""
    submit(database, owner="ada")
    with database.begin() as connection:
        connection.execute(_JOBS, {"n": jobs})
        connection.execute(_KEYS, {"names": list(METRICS)})
        connection.execute(_STANDS)
    with database.autocommit() as connection:
        connection.execute(text("analyze job, metric_last, metric_key"))
