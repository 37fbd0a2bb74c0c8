"""Jobs and claims as the tests of the service need them."""

from __future__ import annotations

from typing import Any

from normlab.events import Series
from normlab.records import JobRecord
from normlab.specs.jobs import JobSpec
from service.jobs import leases, submissions
from service.jobs.leases import Lease
from service.store.database import Database


def spec(**changes: Any) -> JobSpec:
    """A small job."""
    return JobSpec.model_validate({"normalizer": "batch", **changes})


def submit(
    database: Database, owner: str = "ada", device: str = "cpu", **changes: Any
) -> JobRecord:
    """Queue a small job."""
    record, _ = submissions.submit(
        database, spec(**changes), owner=owner, device=device, device_reason="a test asks for it"
    )
    return record


def claim(database: Database, device: str = "cpu", lease_s: float = 30.0) -> Lease:
    """Lease the next job, of which there is one."""
    found = leases.claim(database, device, "worker-1", lease_s)
    assert found is not None
    return found


def series(*steps: int, value: float = 0.5) -> Series:
    """Points at *steps*, with times that tell them apart."""
    return Series(steps=list(steps), values=[value] * len(steps), times=[float(s) for s in steps])
