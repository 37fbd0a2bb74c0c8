"""
Write the index words of jobs that are older than this index, without delaying any write.

Triggers write the words of new and of renamed jobs, and this loop does not overwrite them. Until it
has processed all jobs, filters read the table of jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, text

from service.store import places
from service.store.database import Database
from service.store.places import LastExamined

_LOOP = "words"  # the migration that creates the index adds the row for this loop
_JOBS_AT_ONCE = 200
_WORKING_S = 1.0  # jobs in each round
_LACKING = text("select exists (select from loop_place where loop = 'words')")
_LOCK = text("select loop from loop_place where loop = 'words' for update skip locked")
_NEXT = text("""
    select id, created_at from job
    where (created_at, id) > (
        coalesce(cast(:moment as timestamptz), '-infinity'),
        coalesce(cast(:job as uuid), '00000000-0000-0000-0000-000000000000')
    )
    order by created_at, id limit :limit
""")
# A rename locks the job before its words. This does the same, or the two could deadlock.
_HOLD = text("select id from job where id = any(:jobs) order by id for key share")
_WRITE = text("""
    insert into job_index (job, words)
    select job.id, job_words_of(job) from job where id = any(:jobs)
    on conflict (job) do nothing
""")


def is_whole(connection: Connection) -> bool:
    """Return whether every job has its words."""
    return not connection.execute(_LACKING).scalar_one()


class Indexer:
    """Writes the words of earlier jobs, the oldest first; any number may run."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock

    def round(self) -> int:
        """Write the words of some jobs; return how many jobs there were."""
        until = self._clock() + _WORKING_S
        jobs = 0
        while found := self._write_some():
            jobs += found
            if self._clock() >= until:
                break
        return jobs

    def _write_some(self) -> int:
        with self._database.begin() as connection:
            if connection.execute(_LOCK).first() is None:  # all are written, or another writes
                return 0
            place = places.read(connection, _LOOP)
            values = {"limit": _JOBS_AT_ONCE, **vars(place)}
            jobs = connection.execute(_NEXT, values).all()
            if not jobs:
                places.leave(connection, _LOOP)
                return 0
            ids = {"jobs": [row.id for row in jobs]}
            connection.execute(_HOLD, ids)
            connection.execute(_WRITE, ids)
            places.advance(connection, _LOOP, LastExamined(jobs[-1].created_at, jobs[-1].id))
        return len(jobs)
