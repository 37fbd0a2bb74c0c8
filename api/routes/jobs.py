"""Jobs: submit, validate, list, show, cancel, retry."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth import CallerDep, ChangerDep, ReaderDep, SubmitterDep
from api.bodies import IdempotencyKey, JsonRoute, answer
from api.caller import Caller
from api.costly import UNDER_WAY, costly
from api.routes.labels import ARCHIVED, ArchivedQuery
from api.state import State, StateDep
from api.targets import LookedAtDep, TargetDep
from normlab.errors import refuse
from normlab.records import JobCreated, JobDetail, JobPage, JobState, Validation
from normlab.records.jobs import OutlookRecord
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import steps
from normlab.specs.starting_weights import Longer
from service.jobs import changes, estimates, listing, outlook, priorities, reading, submissions
from service.jobs.job_filters import JobFilters
from service.results import continuing

router = APIRouter(tags=["jobs"], route_class=JsonRoute)

_NAME = Query(max_length=200)


@router.post("/jobs", status_code=202, response_model=JobCreated)
def submit_job(
    spec: JobSpec,
    caller: SubmitterDep,
    state: StateDep,
    project: TargetDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """
    Queue a training job.

    The response says on which device the job will run, and why. `Location` is the URL to
    poll. A job for a device without a live worker is accepted, and
    shows what it is waiting for.
    """
    return _queued(state, spec, caller, project, idempotency_key)


@router.post("/jobs/{job}/continue", status_code=202, response_model=JobCreated)
def continue_job(
    job: str,
    asked: Longer,
    caller: SubmitterDep,
    state: StateDep,
    project: TargetDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """
    Queue a longer job that continues from the last checkpoint of *job*, which has ended.

    It ends with the same numbers as one longer job. If the schedule or the normalizer depends on
    the length of the training, that is impossible, and the request is refused with the reason;
    `anyway` continues nevertheless.
    """
    spec = continuing.longer(state.database, job, asked)
    return _queued(state, spec, caller, project, idempotency_key)


def _queued(state: State, spec: JobSpec, caller: Caller, project: str, key: str | None) -> Response:
    placed = state.admission.admit(spec)
    job, created = submissions.submit(
        state.database,
        spec,
        owner=caller.owner,
        project=project,
        device=placed.device,
        device_reason=placed.reason,
        idempotency_key=key,
        steps=steps(spec),
        max_queued=state.settings.max_queued_per_owner,
        by=caller.actor,
    )
    if created:
        state.ringer.ring(job.device)
    said = JobCreated(
        id=job.id,
        state=job.state,
        device=job.device,
        device_reason=job.device_reason,
        samples_per_update=job.samples_per_update,
    )
    return answer(said.model_dump_json(), 202, location=f"/v1/jobs/{job.id}")


@router.post("/jobs:validate", response_model=Validation, responses=UNDER_WAY)
async def validate_job(
    spec: JobSpec, caller: CallerDep, state: StateDep, project: LookedAtDep
) -> Response:
    """
    Validate a job without queueing it.

    Every rule is checked as on submission; the answer has the whole spec with
    its defaults, the device with the reason for it and against the others, how long it may
    take, and the place in the queue. A deep network takes a while to inspect: the answer is
    then 202 with `Retry-After`, and a repeated request gets the result once it is known.
    """
    key = (caller.owner, project, spec.model_dump_json())
    work = partial(_validation, state, spec, caller.owner, project)
    return await state.validations.answer_or_go_on(caller.owner, key, work)


@router.get("/jobs", response_model=JobPage)
@costly
def list_jobs(
    request: Request,
    reader: ReaderDep,
    state: StateDep,
    states: Annotated[list[JobState] | None, Query(alias="state")] = None,
    device: Annotated[list[str] | None, _NAME] = None,
    normalizer: Annotated[list[str] | None, _NAME] = None,
    study: Annotated[str | None, _NAME] = None,
    owner: Annotated[str | None, _NAME] = None,
    project: Annotated[str | None, _NAME] = None,
    name: Annotated[str | None, _NAME] = None,
    where: Annotated[
        str | None,
        Query(
            alias="filter",
            max_length=2000,
            description="an expression such as: normalizer = online and batch_size <= 4 and "
            "val/accuracy > 0.9",
        ),
    ] = None,
    sort: Annotated[str, Query(max_length=200)] = "-created_at",
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    trash: Annotated[
        bool, Query(description="list the jobs in the trash instead of the others")
    ] = False,
    archived: ArchivedQuery = "hide",
) -> Response:
    """
    List jobs, newest first, in pages.

    `state`, `device` and `normalizer` may be repeated. `filter` is an expression such as
    `normalizer = online and batch_size <= 4 and val/accuracy > 0.9`. `sort` is a column or the
    name of a metric (its last value); put a minus in front to list the largest first.
    `cursor` is the `next_cursor` of the previous page.
    """
    filters = JobFilters(
        state=tuple(states) if states else None,
        device=tuple(device) if device else None,
        normalizer=tuple(normalizer) if normalizer else None,
        study=study,
        owner=owner,
        project=project,
        name=name,
        where=where,
        trash=trash,
        archived=ARCHIVED[archived],
    )
    page = listing.list_jobs(state.reads, filters, sort, cursor, limit)
    return answer(page.model_dump_json())


@router.get("/jobs/{job}")
def read_job(job: str, reader: ReaderDep, state: StateDep) -> JobDetail:
    """Return one job: its specification, progress and attempts."""
    return reading.get(state.database, job)


@router.get("/jobs/{job}/outlook", response_model=OutlookRecord)
@costly
def read_outlook(job: str, request: Request, reader: ReaderDep, state: StateDep) -> OutlookRecord:
    """Return the time that is left, the place in the queue, and what would change it."""
    return outlook.outlook(state.reads, job)


@router.post("/jobs/{job}/cancel")
def cancel_job(job: str, caller: ChangerDep, state: StateDep) -> JobDetail:
    """Cancel a queued job immediately; a running one writes a checkpoint, then stops."""
    return changes.cancel(state.database, job, by=caller.actor)


@router.post("/jobs/{job}/retry")
def retry_job(job: str, caller: ChangerDep, state: StateDep) -> JobDetail:
    """Queue a failed or cancelled job again; it continues from its last checkpoint."""
    most = state.settings.max_queued_per_owner
    retried = changes.retry(state.database, job, most, by=caller.actor)
    state.ringer.ring(retried.device)
    return retried


def _validation(state: State, spec: JobSpec, owner: str, project: str) -> Validation:
    found = state.admission.problems(spec)
    with state.database.autocommit() as connection:
        found += priorities.problems(connection, owner, project, spec.priority)
    refuse(found)
    inspection = state.inspector.ask(spec)  # only for models that can be built
    placed = state.admission.admit(spec, inspection.memory_bytes if inspection else 0)
    time = estimates.of_job(state.database, spec, placed.device, steps(spec))
    return Validation(
        spec=spec,
        device=placed.device,
        device_reason=placed.reason,
        verdicts=state.admission.verdicts(spec),
        samples_per_update=spec.samples_per_update,
        steps=steps(spec),
        parameters=inspection.parameters if inspection else None,
        conversion=inspection.conversion if inspection else "",
        memory_bytes=inspection.memory_bytes if inspection else None,
        estimated_s=time.seconds,
        estimate=time.words,
        queue_position=reading.queue_position(state.database, placed.device, spec.priority),
        fingerprint=spec.fingerprint(),
    )
