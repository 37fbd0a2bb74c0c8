"""Jobs and leases for the tests of the service."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from normlab.errors import QuotaExceeded
from normlab.events import Series
from normlab.records import JobRecord
from normlab.specs.jobs import JobSpec
from service.jobs import leases, reaper, submissions
from service.jobs.leases import Lease
from service.results import metrics
from service.results.chunks import Columns
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
    """Lease the next job; there must be one."""
    found = leases.claim(database, device, "worker-1", lease_s)
    assert found is not None
    return found


def series(*steps: int, value: float = 0.5) -> Series:
    """Points at *steps*, with distinct times."""
    return Series(steps=list(steps), values=[value] * len(steps), times=[float(s) for s in steps])


def reap(database: Database) -> int:
    """Take every job with an expired lease from its worker, without the reaper's grace period."""
    return sum(reaper.reap_one(database, job) for job in reaper.expired(database))


def stored(
    database: Database, job: str, name: str, first: int | None = None, last: int | None = None
) -> Columns:
    """Return the points of one metric of *job*."""
    found = metrics.read_arrays(database, job, name, first, last)
    return Columns(found["steps"], found["values"], found["times"])


def at_once(*work: Callable[[], object]) -> int:
    """Do all *work* at one moment; return how much of it was refused for the limit."""
    start = Barrier(len(work))

    def attempt(part: Callable[[], object]) -> int:
        start.wait()
        try:
            part()
        except QuotaExceeded:
            return 1
        return 0

    with ThreadPoolExecutor(len(work)) as threads:
        return sum(threads.map(attempt, work))
