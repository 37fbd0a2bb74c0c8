"""A project's rules for the files of ended jobs, the files that expire, and their removal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.auth import ReaderDep
from api.bodies import JsonRoute
from api.costly import costly
from api.routes.projects import check_administers
from api.state import StateDep
from normlab.records.keeping import ExpiredPage, KeepRequest, KeepRules
from service.keeping import collecting, rules
from service.store.sight import check_in_sight

router = APIRouter(tags=["projects"], route_class=JsonRoute)

_Cursor = Annotated[
    str | None, Query(max_length=500, description="the `next_cursor` of the previous page")
]


@router.get("/projects/{project}/keep")
def read_keep_rules(project: str, reader: ReaderDep, state: StateDep) -> KeepRules:
    """Return for how many days after its end a job keeps its files; null: for ever."""
    check_in_sight(project)
    return rules.read(state.database, project)


@router.put("/projects/{project}/keep")
def set_keep_rules(
    project: str, asked: KeepRequest, caller: ReaderDep, state: StateDep
) -> KeepRules:
    """
    Change what the project keeps; for its admins.

    Files that a waiting or running job still needs are kept as long as it needs them.
    """
    check_administers(caller, project)
    return rules.put(state.database, project, asked, caller.actor)


@router.get("/projects/{project}/expired")
@costly
def list_expired(
    request: Request, project: str, reader: ReaderDep, state: StateDep, cursor: _Cursor = None
) -> ExpiredPage:
    """List what the rules no longer keep and what will be removed."""
    check_in_sight(project)
    return collecting.page(state.reads, project, cursor)


@router.post("/projects/{project}/expired:remove")
def remove_expired(
    project: str, caller: ReaderDep, state: StateDep, cursor: _Cursor = None
) -> ExpiredPage:
    """
    Remove some of what the rules no longer keep, and list it; for admins of the project.

    The answer has a cursor while there is more. Files are deleted minutes later. This cannot be
    undone.
    """
    check_administers(caller, project)
    return collecting.page(state.database, project, cursor, remove=True, by=caller.actor)
