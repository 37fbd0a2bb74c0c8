"""The page of disk use: how much the jobs of each owner store, and how much is in the trash."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import ReaderDep
from api.costly import costly
from api.rendering import render
from api.state import StateDep
from normlab.presentation.sizes import size
from service.studies import purging

router = APIRouter()


@router.get("/usage")
@costly
def show_usage(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show how much the visible jobs store, by owner, and how much the caller has in the trash."""
    owners = purging.usage(state.reads)
    return render(
        request,
        "usage.html",
        reader,
        owners=owners,
        most=max((one.bytes for one in owners), default=0),
        total=sum(one.bytes for one in owners),
        trash=purging.summary(state.reads, reader.owner, state.settings.trash_days),
        size=size,
        section="/account",
    )
