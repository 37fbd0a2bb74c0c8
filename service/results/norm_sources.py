"""The source of the weight norms that a job follows: find that job, check it, read its norms."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec, NotFound
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import TWIN
from normlab.specs.sizes import steps, steps_per_epoch, train_size
from service.jobs.reading import unknown
from service.results import diagnostics
from service.store.database import Database
from service.store.identity import parse_id
from service.store.sight import IN_SIGHT, current

_FIELD = "optimizer.norms_of"
_RECORD = "weight_norms"
_JOB = text("select id, project, state, spec from job where id = :job")
# The oldest one, so that every attempt gets the same.
_TWIN = text(f"""
    select id, state, spec from job
    where fingerprint = :fingerprint and state = 'succeeded'
        and {IN_SIGHT.format(project="project")} order by id limit 1
""")
_EPOCHS = text("""
    select count(distinct step) from diagnostic where job = :job and name = :name
""")


def problems(database: Database, spec: JobSpec) -> list[FieldProblem]:
    """Return why *spec* cannot follow the named job; empty if it can, or if it names none."""
    if spec.optimizer.norms_of is None:
        return []
    with database.autocommit() as connection:
        try:
            _find(connection, spec)
        except InvalidSpec as e:
            return [FieldProblem(_FIELD, str(e))]
    return []


def norms_for(database: Database, spec: JobSpec) -> list[dict[str, list[float]]] | None:
    """
    Read the norms that *spec* follows, one entry per epoch; None if it names no job.

    Raises:
        InvalidSpec: the named job does not exist, or this job cannot follow it.
    """
    if spec.optimizer.norms_of is None:
        return None
    with database.autocommit() as connection:
        source = _find(connection, spec)
    records = diagnostics.read_all(database, str(source), _RECORD)  # by step
    return [record.record["norms"] for record in records]


def _find(connection: Connection, spec: JobSpec) -> UUID:
    row = _named(connection, spec)
    job: UUID = row.id
    source = JobSpec.from_store(row.spec)
    if row.state != "succeeded":
        raise InvalidSpec(f"job {job} is {row.state}; name one that has succeeded")
    if source.model != spec.model or source.dataset.name != spec.dataset.name:
        theirs = f"{source.model.name} on {source.dataset.name}, width {source.model.width}"
        ours = f"{spec.model.name} on {spec.dataset.name}, width {spec.model.width}"
        raise InvalidSpec(f"job {job} trained {theirs}, but this one {ours}; name one that matches")
    recorded = connection.execute(_EPOCHS, {"job": job, "name": _RECORD}).scalar_one()
    if recorded == 0:
        raise InvalidSpec(
            f"job {job} recorded no weight norms; run it with diagnostic {_RECORD!r}, then name it"
        )
    if recorded < _epochs(spec):
        raise InvalidSpec(
            f"job {job} recorded {recorded} epochs, but this one has {_epochs(spec)}; "
            "train for fewer"
        )
    return job


def _named(connection: Connection, spec: JobSpec) -> Any:
    name = str(spec.optimizer.norms_of)
    if name == TWIN:
        values = {"fingerprint": spec.twin().fingerprint(), **current().values}
        row = connection.execute(_TWIN, values).first()
        if row is None:
            raise InvalidSpec(
                "no job with this spec, but without norms_of, has succeeded; run that one first"
            )
        return row
    try:
        row = connection.execute(_JOB, {"job": parse_id(name)}).first()
        if row is None or not current().sees(row.project):
            raise unknown(name)
    except NotFound as e:
        raise InvalidSpec(str(e)) from e
    return row


def _epochs(spec: JobSpec) -> int:
    per_epoch, total = steps_per_epoch(spec, train_size(spec)), steps(spec)
    return spec.epochs if not per_epoch or total is None else -(-total // per_epoch)
