"""Studies: submit a grid, follow its progress, read its results."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from api.auth import ChangerDep, ReaderDep, SubmitterDep
from api.bodies import JsonRoute
from api.costly import UNDER_WAY, costly
from api.routes.labels import ARCHIVED, ArchivedQuery
from api.state import State, StateDep
from api.targets import LookedAtDep, TargetDep
from normlab.records import CellPage, StudyDetail, StudyPage, StudyPreview, StudyRecord
from normlab.specs.base import Label
from normlab.specs.devices import KINDS
from normlab.specs.sizes import steps
from normlab.specs.studies import StudySpec
from service.studies import changes, details, listing, previews, studies

router = APIRouter(tags=["studies"], route_class=JsonRoute)


class Priority(BaseModel):
    """The priority of the queued cells."""

    priority: int = Field(ge=-100, le=100)


@router.post("/studies", status_code=202)
def create_study(
    spec: StudySpec,
    caller: SubmitterDep,
    state: StateDep,
    project: TargetDep,
    response: Response,
) -> StudyRecord:
    """
    Accept a whole grid, and queue its jobs.

    The first cells of a large grid are queued at once. The others are planned: they count towards
    the owner's limit, `counts` has their number, and the state is `queueing` until the last one is
    queued. The same specification is the same study: sending it again runs nothing twice and
    returns the existing study.
    """
    study, _ = studies.create(
        state.database,
        spec,
        owner=caller.owner,
        project=project,
        place=state.admission.placing(),
        check=state.admission.checking(),
        max_queued=state.settings.max_queued_per_owner,
        by=caller.actor,
    )
    _ring(state, study)
    response.headers["Location"] = f"/v1/studies/{study.id}"
    return study


@router.post("/studies:preview", response_model=StudyPreview, responses=UNDER_WAY)
async def preview_study(
    spec: StudySpec, caller: ReaderDep, state: StateDep, project: LookedAtDep
) -> Response:
    """
    Report what a study would run, how long it may take, and what is refused; store nothing.

    A large grid takes a while: the answer is then 202 with `Retry-After`, and a repeated request
    gets the result once it is known.
    """
    owner = caller.owner

    def work() -> StudyPreview:
        return previews.preview(
            state.database,
            spec,
            owner=owner,
            project=project,
            place=state.admission.placing(),
            check=state.admission.checking(),
            steps=steps,
        )

    key = (owner, project, spec.model_dump_json())  # also fields outside the fingerprint
    return await state.previews.answer_or_go_on(owner, key, work)


@router.get("/studies")
@costly
def list_studies(
    request: Request,
    reader: ReaderDep,
    state: StateDep,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    name: Annotated[
        Label | None, Query(max_length=200, description="only studies with exactly this name")
    ] = None,
    mine: Annotated[bool, Query(description="only studies of the token's owner")] = False,
    project: Annotated[str | None, Query(max_length=200)] = None,
    trash: Annotated[
        bool, Query(description="list the studies in the trash instead of the others")
    ] = False,
    archived: ArchivedQuery = "hide",
) -> StudyPage:
    """List studies in pages, newest first."""
    owner = reader.owner if mine else None
    return listing.list_studies(
        state.reads,
        cursor,
        limit,
        name=name,
        owner=owner,
        project=project,
        trash=trash,
        archived=None if trash else ARCHIVED[archived],
    )


@router.get("/studies/{study}")
@costly
def get_study(
    request: Request,
    study: str,
    reader: ReaderDep,
    state: StateDep,
    cells: Annotated[int, Query(ge=0, le=details.MOST_CELLS)] = details.MOST_CELLS,
) -> StudyDetail:
    """Show a study with its first cells and their jobs; `next_cursor` leads to the others."""
    return details.get(state.reads, study, cells)


@router.get("/studies/{study}/cells")
@costly
def list_cells(
    request: Request,
    study: str,
    reader: ReaderDep,
    state: StateDep,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=details.MOST_CELLS)] = details.MOST_CELLS,
) -> CellPage:
    """List the cells of a study in the order of its axes, a page at a time."""
    return details.list_cells(state.reads, study, cursor, limit)


@router.put("/studies/{study}", status_code=202)
def extend_study(study: str, spec: StudySpec, caller: ChangerDep, state: StateDep) -> StudyRecord:
    """Extend a study to a larger grid; only new cells are queued."""
    record = studies.extend(
        state.database,
        study,
        spec,
        owner=caller.owner,
        place=state.admission.placing(),
        check=state.admission.checking(),
        max_queued=state.settings.max_queued_per_owner,
        by=caller.actor,
    )
    _ring(state, record)
    return record


@router.post("/studies/{study}/priority", status_code=202)
def set_priority(
    study: str, priority: Priority, caller: ChangerDep, state: StateDep
) -> StudyRecord:
    """Move the queued cells of a study up or down."""
    return changes.set_priority(state.database, study, priority.priority, by=caller.actor)


@router.post("/studies/{study}/{verb}", status_code=202)
def change_study(
    study: str,
    verb: Literal["complete", "pause", "resume", "cancel"],
    caller: ChangerDep,
    state: StateDep,
) -> StudyRecord:
    """
    Complete, pause, resume or cancel a study.

    `complete` runs the missing, failed or cancelled cells and does not change the others;
    `pause` holds back queued cells, and `resume` releases them. After the answer to `cancel` no
    cell starts; a large study is `cancelling` until all its cells are cancelled.
    """
    if verb == "complete":
        record = studies.complete(
            state.database,
            study,
            place=state.admission.placing(),
            max_queued=state.settings.max_queued_per_owner,
            by=caller.actor,
        )
    else:
        record = getattr(studies, verb)(state.database, study, by=caller.actor)
    _ring(state, record)
    return record


def _ring(state: State, study: StudyRecord) -> None:
    if study.counts.get("queued"):
        for device in KINDS:
            state.ringer.ring(device)
