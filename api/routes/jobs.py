"""Jobs: submit, try out, look, cancel, try again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.answers import answer
from api.auth import CallerDep, ReaderDep, SubmitterDep
from api.bodies import IdempotencyKey, JsonRoute
from api.costly import costly
from api.state import State, StateDep
from normlab.errors import refuse
from normlab.records import JobCreated, JobDetail, JobPage, JobState, Validation
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import steps
from service.jobs import changes, estimates, listing, reading, submissions
from service.jobs.listing import JobFilters

router = APIRouter(tags=["jobs"], route_class=JsonRoute)

_NAME = Query(max_length=200)


@router.post("/jobs", status_code=202, response_model=JobCreated)
def submit_job(
    spec: JobSpec,
    caller: SubmitterDep,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """
    Queue a training job.

    The answer says on which device it will run and why. `Location` is where to
    look from now on. A job whose device has no live worker is accepted, and
    says what it waits for.
    """
    placed = state.admission.admit(spec)
    job, created = submissions.submit(
        state.database,
        spec,
        owner=caller.owner,
        device=placed.device,
        device_reason=placed.reason,
        idempotency_key=idempotency_key,
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


@router.post("/jobs:validate", response_model=Validation)
async def validate_job(spec: JobSpec, caller: CallerDep, state: StateDep) -> Response:
    """
    Try a job out without queueing it.

    Every rule is checked as on submission; the answer has the whole spec with
    its defaults, the device with the reason for it and against the others, how long it may
    take, and the place in the queue. A deep net takes a while to be looked at: the answer is 503
    with `Retry-After` then, and who asks for the same again gets what was found meanwhile.
    """
    key = (caller.owner, spec.model_dump_json())
    return await state.validations.answer_or_go_on(
        caller.owner, key, lambda: answer(_validation(state, spec).model_dump_json())
    )


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
    name: Annotated[str | None, _NAME] = None,
    where: Annotated[
        str | None,
        Query(
            alias="filter",
            max_length=2000,
            description="such as: normalizer = online and batch_size <= 4 and val/accuracy > 0.9",
        ),
    ] = None,
    sort: Annotated[str, Query(max_length=200)] = "-created_at",
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """
    List jobs, newest first, a page at a time.

    `state`, `device` and `normalizer` may be repeated. `filter` is an expression such as
    `normalizer = online and batch_size <= 4 and val/accuracy > 0.9`. `sort` is a column or the
    name of a metric (its last value), with a minus before it for the largest first.
    `cursor` is the `next_cursor` of the page before.
    """
    filters = JobFilters(
        state=tuple(states) if states else None,
        device=tuple(device) if device else None,
        normalizer=tuple(normalizer) if normalizer else None,
        study=study,
        owner=owner,
        name=name,
        where=where,
    )
    page = listing.list_jobs(state.reads, filters, sort, cursor, limit)
    return answer(page.model_dump_json())


@router.get("/jobs/{job}")
def read_job(job: str, reader: ReaderDep, state: StateDep) -> JobDetail:
    """Return one job: its specification, where it stands, its attempts."""
    return reading.get(state.database, job)


@router.post("/jobs/{job}/cancel")
def cancel_job(job: str, caller: SubmitterDep, state: StateDep) -> JobDetail:
    """Cancel a queued job at once; a running one stops within a heartbeat, after a checkpoint."""
    caller.check_owns(reading.get(state.database, job).owner, f"job {job}")
    return changes.cancel(state.database, job, by=caller.actor)


@router.post("/jobs/{job}/retry")
def retry_job(job: str, caller: SubmitterDep, state: StateDep) -> JobDetail:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    caller.check_owns(reading.get(state.database, job).owner, f"job {job}")
    most = state.settings.max_queued_per_owner
    retried = changes.retry(state.database, job, most, by=caller.actor)
    state.ringer.ring(retried.device)
    return retried


def _validation(state: State, spec: JobSpec) -> Validation:
    refuse(state.admission.problems(spec))
    inspection = state.inspector.ask(spec)  # only of what can be built
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
        memory_bytes=inspection.memory_bytes if inspection else None,
        estimated_s=time.seconds,
        estimate=time.words,
        queue_position=reading.queue_position(state.database, placed.device, spec.priority),
        fingerprint=spec.fingerprint(),
    )
