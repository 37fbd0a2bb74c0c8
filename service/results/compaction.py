"""Merge the small chunks of ended jobs: fewer rows with the same points."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, text

from service.one_by_one import OneByOne
from service.results.chunks import MAX_POINTS, PACKED, pack, unpack
from service.results.metric_reports import WRITE_CHUNK
from service.store import places
from service.store.database import Database, cursor_of
from service.store.places import LastExamined

_JOBS_A_ROUND = 50
_PASSING_S = 2.0  # seconds of each round, out of the ten between two rounds
_LOOP = "compactor"
# Jobs that have just ended are left out, because people may be reading their curves now. Many jobs
# may end at the same moment.
_ENDED = text("""
    select id, finished_at from job
    where finished_at < clock_timestamp() - make_interval(secs => :settled_s)
        and (finished_at, id) > (
            coalesce(cast(:moment as timestamptz), '-infinity'),
            coalesce(cast(:job as uuid), '00000000-0000-0000-0000-000000000000')
        )
    order by finished_at, id limit :limit
""")
_OF_MANY_CHUNKS = text(f"""
    select distinct job from (
        select job from metric_chunk where job = any(:jobs) group by job, key, attempt
        having count(*) > (sum(n) + {MAX_POINTS - 1}) / {MAX_POINTS}
    ) as scattered
""")
# The lock prevents a retry, and so a new attempt, until all is written. If another process
# compacts a job, that job is skipped here.
_LOCK = (
    "select 1 from job where id = %s and state in ('succeeded', 'failed', 'cancelled')"
    " for no key update skip locked"
)
_SCATTERED = (
    "select key, attempt from metric_chunk where job = %s group by key, attempt"
    f" having count(*) > (sum(n) + {MAX_POINTS - 1}) / {MAX_POINTS}"
)
_TAKE = (
    "with taken as (delete from metric_chunk where job = %s and key = %s and attempt = %s"
    " returning step0, step1, n, t0, steps, vals, times)"
    f" select {PACKED} from taken order by step0"
)


class Compactor:
    """
    Compacts each job once after it has ended; any number of compactors may run.

    Its position is stored, so that it continues there after a restart. A job that is locked or
    fails is tried again, and the stored place stays before it until it is compact.

    Args:
        settled_s: the wait after a job's end, because its watchers may still read its curves.
        failed: called for each job that could not be compacted.
    """

    def __init__(
        self,
        database: Database,
        settled_s: float = 60.0,
        failed: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._settled_s = settled_s
        self._clock = clock
        self._jobs = OneByOne("ended jobs", self._compact_one, lambda *_: failed())
        self._place: LastExamined | None = None  # how far this compactor has looked
        self._left: list[LastExamined] = []  # jobs to try again

    def round(self) -> int:
        """
        Examine some of the ended jobs; return how many were compacted.

        After an upgrade there may be a million jobs that are compact already. They cost little, so
        a round continues past them for a while.
        """
        until = self._clock() + _PASSING_S
        while True:
            examined, changed = self._examine()
            if changed or examined < _JOBS_A_ROUND or self._clock() >= until:
                return changed

    def _examine(self) -> tuple[int, int]:
        """Examine the next ended jobs; return how many there were, and how many were compacted."""
        with self._database.autocommit() as connection:
            self._place = self._place or places.read(connection, _LOOP)
            values = {"settled_s": self._settled_s, "limit": _JOBS_A_ROUND, **vars(self._place)}
            rows = connection.execute(_ENDED, values).all()
            ended = [LastExamined(row.finished_at, row.id) for row in rows]
            looked_at = [*self._left, *ended]
            scattered = _scattered(connection, looked_at)
        changed = self._jobs.round(place.job for place in scattered if place.job is not None)
        with self._database.autocommit() as connection:
            self._left = _scattered(connection, scattered)
            self._place = ended[-1] if ended else self._place
            done = [p for p in looked_at if not self._left or p < min(self._left)]
            if done:
                places.advance(connection, _LOOP, max(done))
        return len(ended), changed

    def _compact_one(self, job: UUID) -> int:
        return compact(self._database, job) > 0


def _scattered(connection: Connection, looked_at: Sequence[LastExamined]) -> list[LastExamined]:
    """Return those of *looked_at* whose jobs have chunks that could be fewer."""
    if not looked_at:
        return []
    jobs = {"jobs": [place.job for place in looked_at]}
    found = set(connection.execute(_OF_MANY_CHUNKS, jobs).scalars())
    return [place for place in looked_at if place.job in found]


def compact(database: Database, job: UUID) -> int:
    """
    Merge the chunks of *job*, up to MAX_POINTS points each; return how many series changed.

    Steps and values do not change; times keep seven digits of a chunk's duration. A job that
    has not ended, or is being compacted, is skipped.
    """
    with database.begin() as connection:
        cursor = cursor_of(connection)
        if cursor.execute(_LOCK, (job,)).fetchone() is None:
            return 0
        scattered = cursor.execute(_SCATTERED, (job,)).fetchall()
        for key, attempt in scattered:
            _rewrite(cursor, (job, key, attempt))
    return len(scattered)


def _rewrite(cursor: psycopg.Cursor[Any], series: tuple[UUID, int, int]) -> None:
    points = unpack(cursor.execute(_TAKE, series).fetchall())
    cursor.executemany(WRITE_CHUNK, [(*series, *vars(chunk).values()) for chunk in pack(points)])
