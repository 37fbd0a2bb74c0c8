"""The catalogue for jobs: normalizers, networks, datasets, diagnostics; and devices."""

from __future__ import annotations

from fastapi import APIRouter

from api import catalogue
from api.auth import ReaderDep
from api.state import StateDep
from normlab.records import (
    DatasetRecord,
    DeviceRecord,
    DiagnosticKindRecord,
    ModelRecord,
    NormalizerRecord,
    PartRecord,
)
from service.jobs import workers

router = APIRouter()


@router.get("/normalizers", tags=["catalogue"])
async def list_normalizers(reader: ReaderDep) -> tuple[NormalizerRecord, ...]:
    """List every kind of normalizer with its options, their defaults and ranges, and its source."""
    return catalogue.normalizers()


@router.get("/models", tags=["catalogue"])
async def list_models(reader: ReaderDep) -> list[ModelRecord]:
    """List every network."""
    return catalogue.models()


@router.get("/datasets", tags=["catalogue"])
def list_datasets(reader: ReaderDep, state: StateDep) -> list[DatasetRecord]:
    """List every dataset, and its missing files below the operator's data root."""
    return catalogue.datasets(state.settings.datasets)


@router.get("/parts", tags=["catalogue"])
async def list_parts(reader: ReaderDep) -> list[PartRecord]:
    """List the tasks, metrics and hooks that a job can use, and the plugins that they are from."""
    return catalogue.parts()


@router.get("/diagnostics", tags=["catalogue"])
async def list_diagnostics(reader: ReaderDep) -> list[DiagnosticKindRecord]:
    """List every diagnostic that a job can ask for, where it reports and what it costs."""
    return catalogue.diagnostics()


@router.get("/devices", tags=["devices"])
def list_devices(reader: ReaderDep, state: StateDep) -> list[DeviceRecord]:
    """List the kinds of device with their queued and running jobs, and each live worker."""
    return workers.devices(state.database)
