"""Saved views of the table of jobs: only the owner changes them; a link opens them for others."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.auth import ReaderDep
from api.bodies import JsonRoute
from api.caller import Caller
from api.state import State, StateDep
from normlab.records.tables import NewView, ViewList, ViewRecord
from service.store import views

router = APIRouter(tags=["views"], route_class=JsonRoute)


@router.get("/views")
def list_views(reader: ReaderDep, state: StateDep) -> ViewList:
    """List the saved views of the token's owner."""
    return views.of_owner(state.database, reader.owner)


@router.post("/views", status_code=201)
def save_view(new: NewView, reader: ReaderDep, state: StateDep) -> ViewRecord:
    """Save a view of the table of jobs under a name."""
    return views.create(state.database, reader.owner, new)


@router.get("/views/{view}")
def read_view(view: str, reader: ReaderDep, state: StateDep) -> ViewRecord:
    """Return a view of a member of one of your projects."""
    return views.get(state.database, view)


@router.put("/views/{view}")
def change_view(view: str, new: NewView, reader: ReaderDep, state: StateDep) -> ViewRecord:
    """Change a view of the token's owner."""
    _check_owner(state, reader, view)
    return views.replace(state.database, view, new)


@router.delete("/views/{view}", status_code=204)
def delete_view(view: str, reader: ReaderDep, state: StateDep) -> Response:
    """Delete a view of the token's owner."""
    _check_owner(state, reader, view)
    views.delete(state.database, view)
    return Response(status_code=204)


def _check_owner(state: State, reader: Caller, view: str) -> None:
    reader.check_owns(views.get(state.database, view).owner, f"view {view}")
