"""Delete the files that rules have discarded, once no job can need them any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.records import ENDED
from service.jobs import consumption
from service.keeping.needs import Needs, needs_now
from service.one_by_one import OneByOne
from service.storage.store import Store
from service.store.database import Database

GRACE_S = 300.0
"""Longer than any request, so every job accepted before the file was discarded is known."""
_JOBS_A_ROUND = 100
_OLD = "freed_at is null and discarded_at <= clock_timestamp() - make_interval(secs => :grace_s)"
_DUE = text(f"select job from discarded where {_OLD} group by job order by min(discarded_at)"
            " limit :limit")  # fmt: skip
_LOCK = text("select id, state, fingerprint from job where id = :job for update skip locked")
_FILES = text(f"select path, sha256, kind from discarded where job = :job and {_OLD}")
_PUT_BACK = text("""
    with back as (delete from discarded where job = :job and path = any(:paths) returning *)
    insert into artifact (job, name, kind, attempt, path, sha256, bytes, step, created_at)
    select job, name, kind, attempt, path, sha256, bytes, step, created_at from back
    on conflict (job, name) do nothing
""")
_FREED = text("""
    update discarded set freed_at = clock_timestamp() where job = :job and path = any(:paths)
""")


class Freeing:
    """
    Deletes discarded files after *grace_s*; any number of processes may.

    A file that is needed after all is recorded again: a job that was accepted while the file was
    discarded names it, or its own job was retried. If a file cannot be deleted, its row stays, and
    a later round deletes it.

    Args:
        failed: called for each job whose files could not be deleted.
    """

    def __init__(
        self,
        database: Database,
        files: Store,
        failed: Callable[[], object] = lambda: None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._database = database
        self._files = files
        self._grace = {"grace_s": grace_s}
        self._needs = Needs(frozenset(), frozenset(), frozenset(), all_weights=True)
        self._one_by_one = OneByOne("jobs with old files", self._free, lambda *_: failed())

    def round(self) -> int:
        """Delete the files of some jobs; return how many."""
        with self._database.autocommit() as connection:
            due = connection.execute(_DUE, {**self._grace, "limit": _JOBS_A_ROUND}).scalars().all()
            if due:
                self._needs = needs_now(connection)
        return self._one_by_one.round(due)

    def _free(self, job: UUID) -> int:
        with self._database.begin() as connection:
            row = connection.execute(_LOCK, {"job": job}).first()
            if row is None:
                return 0
            files = connection.execute(_FILES, {"job": job, **self._grace}).all()
            back = [f.path for f in files if row.state not in ENDED or self._needs.keep(f, row)]
            self._put_back(connection, job, back)
            gone = [f.path for f in files if f.path not in back]
            self._files.remove(gone)
            connection.execute(_FREED, {"job": job, "paths": gone})
        return len(gone)

    def _put_back(self, connection: Connection, job: UUID, paths: Sequence[Any]) -> None:
        if paths:
            connection.execute(_PUT_BACK, {"job": job, "paths": list(paths)})
            consumption.recount(connection, job)
