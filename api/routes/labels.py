"""Rename jobs and studies, note and tag them, and put them into the archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api.auth import ChangerDep, SubmitterDep, check_may_change
from api.bodies import JsonRoute
from api.state import StateDep
from normlab.records import JobDetail, StudyRecord
from normlab.records.labels import Labels, SeveralLabels
from normlab.records.tables import Changed
from service.jobs import changes, labels as of_jobs
from service.studies import changes as of_studies

ArchivedQuery = Annotated[
    Literal["hide", "only", "show"],
    Query(
        description="which jobs or studies are listed; a filter that names `archived` overrides "
        "this"
    ),
]
ARCHIVED: Mapping[str, bool | None] = {"hide": False, "only": True, "show": None}
"""The same for the service."""


router = APIRouter(tags=["labels"], route_class=JsonRoute)


@router.patch("/jobs/{job}")
def label_job(job: str, asked: Labels, caller: ChangerDep, state: StateDep) -> JobDetail:
    """
    Change the name, the note or the tags of a job, or archive it.

    Its specification and its results do not change. Lists and tables show an archived job only on
    request; it is not deleted, and can be taken out of the archive again.
    """
    return of_jobs.change(state.database, job, asked, by=caller.actor)


@router.post("/jobs:label")
def label_jobs(asked: SeveralLabels, caller: SubmitterDep, state: StateDep) -> Changed:
    """Tag or archive several jobs; the answer lists those that cannot be changed, and why."""
    given = asked.model_dump(exclude={"jobs"}, exclude_unset=True)
    wanted = Labels.read(given)

    def label(job: str) -> None:
        check_may_change(caller, state.things.look_up("job", job))
        of_jobs.change(state.database, job, wanted, by=caller.actor)

    return changes.change_each(asked.jobs, label)


@router.patch("/studies/{study}")
def label_study(study: str, asked: Labels, caller: ChangerDep, state: StateDep) -> StudyRecord:
    """
    Change the name, the note or the tags of a study, or archive it.

    A filter finds its jobs by its tags too, and they are archived with it.
    """
    return of_studies.label(state.database, study, asked, by=caller.actor)
