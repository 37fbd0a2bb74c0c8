"""Limits of owners and projects, with their use; admins set them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import AdminDep, ReaderDep
from api.bodies import JsonRoute
from api.caller import Caller
from api.state import State, StateDep
from normlab.errors import FieldProblem, Forbidden, InvalidSpec
from normlab.records.limits import EACH, LimitList, LimitRequest, Subject
from service.jobs import allowances
from service.store import projects
from service.store.sight import check_in_sight

router = APIRouter(tags=["limits"], route_class=JsonRoute)

_Name = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="the name; *: each owner or project"),
]


@router.get("/limits")
def read_limits(
    reader: ReaderDep, state: StateDep, owner: _Name = None, project: _Name = None
) -> LimitList:
    """List the limits of the token's owner or of one of its projects; admins may ask about all."""
    if owner is not None and project is not None:
        rule = "give either an owner or a project"
        raise InvalidSpec.of([FieldProblem("owner", rule), FieldProblem("project", rule)])
    if project is None:
        return limits_of(state, reader, "owner", owner or reader.owner)
    if project != EACH:
        projects.check_exists(state.database, project)
    return limits_of(state, reader, "project", project)


@router.put("/limits")
def set_limits(asked: LimitRequest, admin: AdminDep, state: StateDep) -> LimitList:
    """
    Set limits of an owner or a project, or of all that have no limit of their own (`*`).

    They apply to jobs, studies and searches. Existing jobs that exceed a limit stay, and nothing
    more is added or started until there is room.
    """
    if asked.subject == "project" and asked.name != EACH:
        projects.check_exists(state.database, asked.name)
    allowances.put(state.database, asked, admin.actor)
    state.callers.forget()
    return limits_of(state, admin, asked.subject, asked.name)


def limits_of(state: State, caller: Caller, subject: Subject, name: str) -> LimitList:
    """Return the limits of *name*; raise Forbidden or NotFound if *caller* may not see them."""
    if subject == "project" and name != EACH:
        check_in_sight(name)
    if subject == "owner" and name not in (caller.owner, EACH) and "admin" not in caller.scopes:
        raise Forbidden(f"only {name!r} and admins may see these limits")
    most = state.settings.max_queued_per_owner
    return LimitList(limits=allowances.read(state.database, subject, name, most))
