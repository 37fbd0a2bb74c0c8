"""The page of projects: their contents, keep-rules and members, with forms to change these."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.auth import AdminDep, ReaderDep
from api.caller import Caller
from api.costly import costly
from api.rendering import render
from api.routes.projects import check_administers
from api.state import State, StateDep
from normlab.errors import NormlabError
from normlab.records.keeping import KeepRequest
from normlab.records.projects import EVERYBODY, MemberRequest, ProjectRequest
from service.keeping import rules
from service.store import projects

router = APIRouter()

_SECTION = "/projects"
_Text = Annotated[str, Form(max_length=500)]
_LONGER = {"last_and_best": "the last and the best", "last": "the last", "none": "none"}


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


@router.post("/projects/{project}/keep")
def set_keep_rules(
    request: Request,
    project: str,
    reader: ReaderDep,
    state: StateDep,
    checkpoints_days: _Text = "",
    checkpoints_then: _Text = "last_and_best",
    weights_days: _Text = "",
    logs_days: _Text = "",
) -> Response:
    """Change what the project keeps; an empty number of days keeps everything."""
    check_administers(reader, project)
    days = {
        "checkpoints_days": checkpoints_days,
        "weights_days": weights_days,
        "logs_days": logs_days,
    }
    given = {name: text.strip() or None for name, text in days.items()}
    try:
        asked = KeepRequest.read({**given, "checkpoints_then": checkpoints_then})
        rules.put(state.database, project, asked, reader.actor)
    except NormlabError as e:
        return _page(request, reader, state, str(e))
    return _changed(state)


def _page(request: Request, caller: Caller, state: State, problem: str | None = None) -> Response:
    shown = projects.list_projects(state.reads, caller.own_roles)
    return render(
        request,
        "projects.html",
        caller,
        422 if problem else 200,
        projects=shown,
        kept=rules.read_several(state.reads, [one.name for one in shown]),
        longer=_LONGER,
        may_change=lambda project: caller.may("admin", project),
        roles=tuple(projects.RANKS),
        everybody=EVERYBODY,
        problem=problem,
        section=_SECTION,
    )


def _changed(state: State) -> Response:
    state.callers.forget()
    return RedirectResponse(_SECTION, status_code=303)
