"""Results of diagnostics that are not a series."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import ReaderDep
from api.state import StateDep
from normlab.records import DiagnosticRecord
from service.results import diagnostics

router = APIRouter(tags=["diagnostics"])


@router.get("/jobs/{job}/diagnostics")
def list_findings(
    job: str,
    reader: ReaderDep,
    state: StateDep,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> list[DiagnosticRecord]:
    """List the results of the job's diagnostics, by name and step."""
    return diagnostics.read_all(state.database, job, name)
