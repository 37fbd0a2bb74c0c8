"""The final weights of jobs: where their files are, and which content they have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, text

from normlab.errors import Conflict
from service.jobs.reading import unknown
from service.store.database import Database
from service.store.identity import parse_id

NAME = "weights.safetensors"
_OF_JOB = text("""
    select job.state, artifact.path, artifact.sha256
    from job left join artifact on artifact.job = job.id and artifact.name = :name
    where job.id = :job
""")


class StoredWeights(NamedTuple):
    """A file of weights, and the SHA-256 of its content."""

    path: Path
    sha256: str


def of_job(database: Database, job: str) -> StoredWeights:
    """
    Return the final weights of *job*.

    Raises:
        NotFound: there is no such job.
        Conflict: it has not succeeded, or it trained nothing.
    """
    with database.autocommit() as connection:
        return _of_job(connection, job)


def _of_job(connection: Connection, job: str) -> StoredWeights:
    row = connection.execute(_OF_JOB, {"job": parse_id(job), "name": NAME}).first()
    if row is None:
        raise unknown(job)
    if row.state != "succeeded":
        raise Conflict(f"job {job} is {row.state}; only one that succeeded has final weights")
    if row.path is None:
        raise Conflict(f"job {job} kept no weights: it trained for no epochs")
    return StoredWeights(Path(row.path), row.sha256)
