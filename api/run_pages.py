"""The pages that compare many runs: the table with its views, and comparisons."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import ReaderDep
from api.costly import costly
from api.rendering import render
from api.state import StateDep
from service.store import events

router = APIRouter()


@router.get("/runs")
@costly
def show_runs(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the table of runs; its address has the columns, or names a saved view."""
    after = events.latest(state.reads)  # what happens while the page loads is followed
    return render(request, "runs.html", reader, after=after, section="/runs")


@router.get("/compare")
async def show_comparison(request: Request, reader: ReaderDep) -> Response:
    """Show a comparison of the runs that the address names."""
    return render(request, "compare.html", reader, section="/runs")
