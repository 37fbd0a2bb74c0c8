"""Projects: list them with their members, create them, change the members and their roles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.auth import AdminDep, ReaderDep
from api.bodies import JsonRoute
from api.caller import Caller
from api.costly import costly
from api.state import StateDep
from normlab.errors import Forbidden
from normlab.records.projects import (
    MemberRecord,
    MemberRequest,
    ProjectList,
    ProjectRecord,
    ProjectRequest,
)
from service.store import projects
from service.store.sight import check_in_sight

router = APIRouter(tags=["projects"], route_class=JsonRoute)


@router.get("/projects")
@costly
def list_projects(request: Request, reader: ReaderDep, state: StateDep) -> ProjectList:
    """List your projects with their members; admins see all of them."""
    return ProjectList(projects=projects.list_projects(state.reads, reader.own_roles))


@router.post("/projects", status_code=201)
def create_project(asked: ProjectRequest, admin: AdminDep, state: StateDep) -> ProjectRecord:
    """Create a project with its creator as the only member."""
    record = projects.create(state.database, asked, admin.actor)
    state.callers.forget()
    return record


@router.get("/projects/{project}")
@costly
def read_project(
    request: Request, project: str, reader: ReaderDep, state: StateDep
) -> ProjectRecord:
    """Return one project with its members."""
    return projects.get(state.reads, project, reader.own_roles)


@router.put("/projects/{project}/members")
def put_member(
    project: str, asked: MemberRequest, caller: ReaderDep, state: StateDep
) -> MemberRecord:
    """
    Add a member, or give it another role; for admins of the project.

    The owner `*` stands for everybody with a token. A role takes effect within 3 seconds.
    """
    check_administers(caller, project)
    member = projects.put_member(state.database, project, asked, caller.actor)
    state.callers.forget()
    return member


@router.delete("/projects/{project}/members", status_code=204)
def remove_member(
    project: str,
    caller: ReaderDep,
    state: StateDep,
    owner: Annotated[str, Query(min_length=1, max_length=200)],
) -> None:
    """
    Remove a member, whose streams of this project end within seconds.

    What the member added stays in the project.
    """
    check_administers(caller, project)
    projects.remove_member(state.database, project, owner, caller.actor)
    state.callers.forget()


def check_administers(caller: Caller, project: str) -> None:
    """Raise NotFound unless *caller* sees *project*, and Forbidden unless it administers it."""
    check_in_sight(project)
    if not caller.may("admin", project):
        raise Forbidden(
            f"{caller.owner!r} is not an admin of project {project!r}; this needs the role "
            f"'admin' there and a token with the scope 'submit', or an admin token"
        )
