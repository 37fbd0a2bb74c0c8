"""The history of a search."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api.auth import ReaderDep
from api.bodies import JsonRoute
from api.costly import UNDER_WAY, going_on
from api.state import StateDep
from normlab.records import SearchHistory
from service.studies import search_history

router = APIRouter(tags=["studies"], route_class=JsonRoute)


@router.get("/studies/{study}/search", response_model=SearchHistory, responses=UNDER_WAY)
@going_on
def get_search(request: Request, study: str, reader: ReaderDep, state: StateDep) -> SearchHistory:
    """
    Return the trials of a search in their order, the best one, and which parameters matter.

    Importance is that of Optuna's PED-ANOVA: what separates the best tenth of the trials.
    """
    return search_history.history(state.reads, study)
