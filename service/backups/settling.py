"""Correct what a restored database says about the stack that was backed up."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from service.backups.holding import NamedFile, named_files
from service.jobs import consumption, leases
from service.storage.store import Store
from service.store.database import Database

_RUNNING = text("select id from job where state = 'running' order by id")
_LOCKED = text(
    "select attempt, lease_until from job where id = :job and state = 'running' for update"
)
_FORGET = (text("delete from worker"), text("delete from seat where job is null"))
# Transaction numbers of the old server; all of these transactions were committed before the dump.
_WRITERS = text("update event set writer = 0 where writer <> 0")
_DROP = text("delete from artifact where job = cast(:job as uuid) and name = :name"
             " and kind = 'checkpoint'")  # fmt: skip
_WHY = "the database was restored from a backup"


def missing_files(database: Database, files: Store) -> list[NamedFile]:
    """List the files that the database names and *files* does not have, by their places."""
    there = set(files.places(""))
    with database.autocommit() as connection:
        return [file for file in named_files(connection) if file.place not in there]


def settle(database: Database, lost: Sequence[tuple[str, str]] = ()) -> int:
    """
    Let the restored jobs continue: those that ran return to the queue and use up no attempt.

    Run it while no worker and no API use the database, or it takes running jobs from them.

    Args:
        lost: jobs and names of files that the backup does not have; no job resumes from them.

    Returns:
        The number of jobs that ran.
    """
    with database.begin() as connection:
        for statement in (*_FORGET, _WRITERS):
            connection.execute(statement)
        for job, name in lost:
            connection.execute(_DROP, {"job": job, "name": name})
            consumption.recount(connection, UUID(job))
        running = connection.execute(_RUNNING).scalars().all()
    for job in running:
        with database.begin() as connection:
            row = connection.execute(_LOCKED, {"job": job}).first()
            if row is not None:
                # the time since the dump does not count
                leases.give_back(connection, job, row.attempt, _WHY, no_later=row.lease_until)
    return len(running)
