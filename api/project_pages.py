"""The page of projects: what they hold, who their members are, and forms to change that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.auth import AdminDep, ReaderDep
from api.callers import Caller
from api.costly import costly
from api.rendering import render
from api.routes.projects import check_administers
from api.state import State, StateDep
from normlab.errors import NormlabError
from normlab.records.projects import EVERYBODY, MemberRequest, ProjectRequest
from service.store import projects

router = APIRouter()

_SECTION = "/projects"
_Text = Annotated[str, Form(max_length=500)]


@router.get("/projects")
@costly
def show_projects(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the caller's projects with their members."""
    return _page(request, reader, state)


@router.post("/projects")
def create_project(
    request: Request, admin: AdminDep, state: StateDep, name: _Text = "", note: _Text = ""
) -> Response:
    """Create a project."""
    try:
        asked = ProjectRequest.read({"name": name.strip(), "note": note.strip()})
        projects.create(state.database, asked, admin.actor)
    except NormlabError as e:
        return _page(request, admin, state, str(e))
    return _changed(state)


@router.post("/projects/{project}/members")
def put_member(
    request: Request,
    project: str,
    reader: ReaderDep,
    state: StateDep,
    owner: _Text = "",
    role: _Text = "submit",
) -> Response:
    """Add a member, or give it another role."""
    check_administers(reader, project)
    try:
        asked = MemberRequest.read({"owner": owner.strip(), "role": role})
        projects.put_member(state.database, project, asked, reader.actor)
    except NormlabError as e:
        return _page(request, reader, state, str(e))
    return _changed(state)


@router.post("/projects/{project}/members/remove")
def remove_member(project: str, reader: ReaderDep, state: StateDep, owner: _Text) -> Response:
    """Remove a member."""
    check_administers(reader, project)
    projects.remove_member(state.database, project, owner, reader.actor)
    return _changed(state)


def _page(request: Request, caller: Caller, state: State, problem: str | None = None) -> Response:
    return render(
        request,
        "projects.html",
        caller,
        422 if problem else 200,
        projects=projects.list_projects(state.reads, caller.roles),
        may_change=lambda project: caller.may("admin", project),
        roles=tuple(projects.RANKS),
        everybody=EVERYBODY,
        problem=problem,
        section=_SECTION,
    )


def _changed(state: State) -> Response:
    state.callers.forget()
    return RedirectResponse(_SECTION, status_code=303)
