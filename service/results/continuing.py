"""Longer jobs: each continues from the last checkpoint of another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text

from normlab.errors import Conflict, FieldProblem, InvalidSpec, NotFound
from normlab.records import ENDED
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import steps_per_epoch, train_size
from normlab.specs.starting_weights import Continuation, Longer
from normlab.training.continuing import differences, too_short
from service.jobs.reading import unknown
from service.results.artifacts import removal
from service.storage.store import StoredFile
from service.store.database import Database
from service.store.identity import parse_id
from service.store.sight import current

_FIELD = "continues"
_MAY_DIFFER = {"epochs", "max_steps", "device", "continues", "evaluate_every", "threads"}
_JOB = text("""
    select id, project, state, trashed_at, spec, fingerprint, device, steps, epochs from job
    where id = :job
""")
_NEWEST = text("""
    select step, path, sha256 from artifact
    where job = :job and kind = 'checkpoint' order by attempt desc, step desc limit 1
""")
_NAMED = text("""
    select step, path, sha256, bytes from artifact
    where job = :job and kind = 'checkpoint' and sha256 = :sha256
""")


class EarlierCheckpoint(NamedTuple):
    """A checkpoint of another job, with the fingerprint that it was written under."""

    step: int
    path: str
    sha256: str
    fingerprint: str


def longer(database: Database, job: str, asked: Longer) -> JobSpec:
    """
    Return the specification of the job that continues from *job*'s last checkpoint.

    Raises:
        NotFound: there is no such job.
        Conflict: it has not ended, or wrote no checkpoint.
        InvalidSpec: *asked* gives no length, or a rule of jobs is broken.
    """
    if asked.epochs is None and asked.max_steps is None:
        raise InvalidSpec.of(
            [FieldProblem("epochs", "give the total number of epochs, such as 50")]
        )
    with database.autocommit() as connection:
        row = _row(connection.execute(_JOB, {"job": parse_id(job)}).first(), job)
        last = connection.execute(_NEWEST, {"job": row.id}).first()
        gone = None if last is not None else removal(connection, row.id, "checkpoint")
    if row.state not in ENDED:
        raise Conflict(f"job {job} is {row.state}; it can be continued once it has ended")
    if row.trashed_at is not None:
        raise Conflict(f"job {job} is in the trash; restore it first")
    if gone is not None:
        raise Conflict(f"the checkpoints of job {job} were {gone}; use init_from instead")
    if last is None:
        raise Conflict(f"job {job} wrote no checkpoint, so there is nothing to continue from")
    before = JobSpec.from_store(row.spec)
    changes: dict[str, Any] = {
        "epochs": asked.epochs or before.epochs,
        "max_steps": asked.max_steps,
        "device": row.device,  # on the same kind of device, so that the bits are the same
        "continues": {
            "job": str(row.id),
            "step": last.step,
            "sha256": last.sha256,
            "schedule": "new" if asked.anyway else "same",
        },
    }
    return JobSpec.model_validate({**before.model_dump(mode="json"), **changes})


def problems(database: Database, spec: JobSpec) -> list[FieldProblem]:
    """Return why *spec* cannot continue its named checkpoint; empty if it can, or names none."""
    if spec.continues is None:
        return []
    try:
        row, _ = _source(database, spec.continues)
    except (InvalidSpec, NotFound) as e:
        return [FieldProblem(_FIELD, str(e))]
    before = JobSpec.from_store(row.spec)
    ours, theirs = spec.texts(), before.texts()
    other = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    if set(other) - _MAY_DIFFER:
        names = ", ".join(name for name in other if name not in _MAY_DIFFER)
        rule = f"job {row.id} differs in {names}; only the length may, or use init_from instead"
        return [FieldProblem(_FIELD, rule)]
    return _of_length(row, before, spec, spec.continues)


def checkpoint_for(
    database: Database, spec: JobSpec, fetch: Callable[[StoredFile], Path]
) -> list[EarlierCheckpoint]:
    """
    Return the checkpoint of another job that *spec* continues from, if there is one.

    Args:
        fetch: returns a file of this host with the same content, or raises NotFound.

    Raises:
        InvalidSpec: it is no longer recorded or stored.
    """
    if spec.continues is None:
        return []
    try:
        row, found = _source(database, spec.continues)
    except NotFound as e:
        raise InvalidSpec(f"continues: {e}") from e
    try:
        path = fetch(StoredFile(found.path, found.sha256, found.bytes))
    except NotFound as e:
        raise InvalidSpec(f"continues: the checkpoint of job {row.id} is gone: {e}") from e
    return [EarlierCheckpoint(found.step, str(path), found.sha256, row.fingerprint)]


def _source(database: Database, goes_on: Continuation) -> tuple[Any, Any]:
    with database.autocommit() as connection:
        row = _row(connection.execute(_JOB, {"job": parse_id(goes_on.job)}).first(), goes_on.job)
        values = {"job": row.id, "sha256": goes_on.sha256}
        found = connection.execute(_NAMED, values).first()
    if found is None or found.step != goes_on.step:
        raise InvalidSpec(
            f"job {row.id} keeps no checkpoint of update {goes_on.step} with the SHA-256 "
            f"{goes_on.sha256}; `normlab continue {row.id}` continues from its last one"
        )
    return row, found


def _row(row: Any, job: str) -> Any:
    if row is None or not current().sees(row.project):
        raise unknown(job)
    return row


def _of_length(
    row: Any, before: JobSpec, spec: JobSpec, goes_on: Continuation
) -> list[FieldProblem]:
    per_epoch = steps_per_epoch(before, train_size(before))
    if per_epoch is None and before.max_steps is None and row.steps:
        per_epoch = row.steps // before.epochs  # as the job found it
    if not per_epoch:
        rule = f"the number of updates per epoch of job {row.id} is not known"
        return [FieldProblem(_FIELD, f"{rule}; use init_from instead")]
    short = too_short(spec, goes_on.step, per_epoch)
    if short or goes_on.schedule == "new":
        return short
    found = differences(before, spec, goes_on.step, per_epoch)
    if spec.device != row.device:
        rule = f"continuing on {spec.device} after {row.device} would not give the same bits"
        found.append(FieldProblem("device", f"{rule}; use {row.device}"))
    return found
