"""Kinds of device, and the workers that serve them now."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import ReaderDep
from api.state import StateDep
from normlab.records import DeviceRecord
from service.jobs import workers

router = APIRouter(tags=["devices"])


@router.get("/devices")
def list_devices(reader: ReaderDep, state: StateDep) -> list[DeviceRecord]:
    """List the kinds of device with their queued and running jobs, and each live worker."""
    return workers.devices(state.database)
