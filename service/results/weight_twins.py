"""The final weights of a job's twin, which `init_from.twin` names by the fields that differ."""

from __future__ import annotations

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.starting_twins import FIELD, starting_twin
from service.storage.store import StoredFile
from service.store.database import Database
from service.store.sight import IN_SIGHT, current

# The oldest first, so that every attempt gets the same.
_OF_TWIN = text(f"""
    select artifact.path, artifact.sha256, artifact.bytes from job
    join artifact on artifact.job = job.id and artifact.name = :name
    where job.fingerprint = :fingerprint and job.state = 'succeeded' and job.trashed_at is null
        and {IN_SIGHT.format(project="job.project")}
    order by job.id limit 100
""")
_DONE = text(f"""
    select 1 from job
    where fingerprint = :fingerprint and state = 'succeeded' and trashed_at is null
        and {IN_SIGHT.format(project="project")} limit 1
""")


def problems(database: Database, spec: JobSpec) -> list[FieldProblem]:
    """Return why *spec* cannot start from its twin; empty if it can, or if it names none."""
    try:
        twin = starting_twin(spec)
    except InvalidSpec as e:
        return list(e.problems)
    if twin is None:
        return []
    if twin.epochs == 0:
        return [FieldProblem(FIELD, "the twin trains for no epochs, so it keeps no weights")]
    values = {"fingerprint": twin.fingerprint(), **current().values}
    with database.autocommit() as connection:
        if connection.execute(_DONE, values).first() is not None:
            return []
    rule = (
        f"its twin, the same job with seed {spec.seed}, fresh weights and these fields changed, "
        "has not succeeded yet; run the twin first"
    )
    return [FieldProblem(FIELD, rule)]


def stored(connection: Connection, spec: JobSpec, name: str) -> list[StoredFile]:
    """
    List the files *name* of *spec*'s twin.

    Raises:
        InvalidSpec: with the changes, the specification is invalid.
    """
    twin = starting_twin(spec)
    if twin is None:
        return []
    values = {"name": name, "fingerprint": twin.fingerprint(), **current().values}
    return [StoredFile(*row) for row in connection.execute(_OF_TWIN, values)]
