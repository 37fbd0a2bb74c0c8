"""The catalogue for jobs: normalizers, networks, datasets, diagnostics."""

from __future__ import annotations

from fastapi import APIRouter

from api import catalogue
from api.auth import ReaderDep
from api.state import StateDep
from normlab.records import (
    DatasetRecord,
    DiagnosticKindRecord,
    ModelRecord,
    NormalizerRecord,
    PartRecord,
)

router = APIRouter(tags=["catalogue"])


@router.get("/normalizers")
async def list_normalizers(reader: ReaderDep) -> tuple[NormalizerRecord, ...]:
    """List every kind of normalizer with its options, their defaults and ranges, and its source."""
    return catalogue.normalizers()


@router.get("/models")
async def list_models(reader: ReaderDep) -> list[ModelRecord]:
    """List every network."""
    return catalogue.models()


@router.get("/datasets")
def list_datasets(reader: ReaderDep, state: StateDep) -> list[DatasetRecord]:
    """List every dataset, and its missing files below the operator's data root."""
    return catalogue.datasets(state.settings.datasets)


@router.get("/parts")
async def list_parts(reader: ReaderDep) -> list[PartRecord]:
    """List the tasks, metrics and hooks that a job can use, and the plugins that they are from."""
    return catalogue.parts()


@router.get("/diagnostics")
async def list_diagnostics(reader: ReaderDep) -> list[DiagnosticKindRecord]:
    """List every diagnostic that a job can ask for, where it reports and what it costs."""
    return catalogue.diagnostics()
