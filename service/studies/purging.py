"""Purge jobs and studies that have been in the trash for long enough, with their files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from normlab.records.keeping import OwnerUsage, TrashRecord
from service.jobs import consumption
from service.one_by_one import OneByOne
from service.storage.store import Store
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.store.sight import IN_SIGHT, current

_JOBS_A_ROUND = 100
_OLD = "trashed_at < clock_timestamp() - make_interval(days => :days)"
_DUE = text(f"select id from job where {_OLD} order by trashed_at limit :limit")
# It may have been restored since, or another process may be purging it
_LOCK = text(f"select 1 from job where id = :job and {_OLD} for update skip locked")
# after its jobs, so that a study can be restored for as long as its jobs can
_DELETE_STUDIES = text(f"""
    delete from study s where {_OLD}
        and not exists (select from job where study = s.id and trashed_at is not null)
""")
_OWN = f"owner = :owner and trashed_at is not null and {IN_SIGHT.format(project='project')}"
_SUMMARY = text(f"""
    select
        (select count(*) from job where {_OWN}) as jobs,
        (select count(*) from study where {_OWN}) as studies,
        (select coalesce(sum(stored_bytes), 0) from job where {_OWN}) as bytes,
        (select min(trashed_at) from job where {_OWN}) as oldest
""")
# a time so long ago that the next round purges them
_EMPTY = tuple(
    text(f"update {table} set trashed_at = to_timestamp(0) where {_OWN}")
    for table in ("job", "study")
)  # fmt: skip
_NOW = f"case when state = 'running' then {consumption.BYTES} else stored_bytes end"
_USAGE = text(f"""
    select j.owner, count(*) as jobs, sum({_NOW}) as bytes,
        coalesce(sum(stored_bytes) filter (where trashed_at is not null), 0) as trashed_bytes
    from job j
    where (cast(:owner as text) is null or j.owner = :owner)
        and {IN_SIGHT.format(project="j.project")}
    group by j.owner order by bytes desc, j.owner
""")
_log = structlog.get_logger(__name__)


class Purger:
    """
    Purges jobs and studies that have been in the trash for *days*; several processes may.

    A job's files are deleted before its row. If either cannot be deleted, the row stays in the
    trash, and a later round continues. A job that cannot be purged does not block the others.

    Args:
        files: the store of the jobs' files.
        days: how long they stay in the trash.
        failed: called for each job that could not be purged.
    """

    def __init__(
        self,
        database: Database,
        files: Store,
        days: int,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._files = files
        self._days = {"days": days}
        self._one_by_one = OneByOne("jobs to purge", self._purge, lambda *_: failed())

    def round(self) -> int:
        """Purge some jobs, and the studies that have none left; return how many in all."""
        with self._database.autocommit() as connection:
            due = connection.execute(_DUE, {**self._days, "limit": _JOBS_A_ROUND}).scalars().all()
        jobs = self._one_by_one.round(due)
        with self._database.begin() as connection:
            studies = connection.execute(_DELETE_STUDIES, self._days).rowcount
        if jobs or studies:
            _log.info("purged", jobs=jobs, studies=studies)
        return jobs + studies

    def _purge(self, job: UUID) -> int:
        with self._database.begin() as connection:
            if connection.execute(_LOCK, {"job": job, **self._days}).first() is None:
                return 0
            self._files.remove_folder(str(job))
            connection.execute(consumption.DELETE, {"job": job})
        return 1


def summary(database: Database, owner: str, days: int) -> TrashRecord:
    """Count the visible jobs and studies of *owner* in the trash, and the size of their files."""
    with database.autocommit() as connection:
        row = connection.execute(_SUMMARY, {"owner": owner, **current().values}).mappings().one()
    return TrashRecord(**row, days=days)


def empty(database: Database, owner: str, days: int, by: Actor | None = None) -> TrashRecord:
    """Mark everything visible that *owner* has in the trash to be purged now, in the background."""
    with database.begin() as connection:
        for statement in _EMPTY:
            connection.execute(statement, {"owner": owner, **current().values})
        audit.write(connection, by, "trash.empty", owner)
    return summary(database, owner, days)


def usage(database: Database, owner: str | None = None) -> list[OwnerUsage]:
    """Sum up what each owner's jobs in sight store, largest first; None: of all owners."""
    values = {"owner": owner, **current().values}
    with database.autocommit() as connection:
        rows: list[Any] = list(connection.execute(_USAGE, values).mappings())
    return [OwnerUsage(**row) for row in rows]
