"""Orders, and a warm host for the whole run."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from normlab.events import AnyEvent
from normlab.specs.jobs import JobSpec
from workers.job_order import JobOrder
from workers.process import FreshLauncher, JobProcess, Launcher
from workers.warm_launcher import WarmLauncher

if TYPE_CHECKING:  # Python 3.8 runs some of the tests, and has no service
    from service.store.database import Database

    from .floor import Floor

# Takes several seconds on one core: for jobs that a test interrupts.
LONG = {
    "normalizer": "batch",
    "model": {"name": "convnet", "width": 4},
    "dataset": {"name": "digits"},
    "batch_size": 16,
    "threads": 1,
    "epochs": 100_000,
    "checkpoint": {"every_steps": 20, "every_s": 3600},
}
SHORT = {**LONG, "epochs": 1, "max_steps": 20}
NOTHING = {"normalizer": "batch", "epochs": 0}


def make_order(folder: Path, spec: dict[str, Any], **changes: Any) -> JobOrder:
    values: dict[str, Any] = {
        "job": "a-job",
        "attempt": 1,
        "spec": JobSpec.model_validate(spec),
        "device": "cpu",
        "folder": str(folder / "attempt-1"),
        "data_root": str(folder / "datasets"),
        "threads": 1,
    }
    return JobOrder(**{**values, **changes})


def read_to_the_end(process: JobProcess, timeout_s: float = 240) -> tuple[list[AnyEvent], bytes]:
    """Return all events and the log of *process* once it has ended."""
    assert process.wait(timeout_s) is not None, "the job process does not end"
    process.reader.join(60)
    harvest = process.reader.take()
    return harvest.events, harvest.log


def read_until(process: JobProcess, kind: str, timeout_s: float = 240) -> list[AnyEvent]:
    """Return the events up to and including the first of *kind*."""
    events: list[AnyEvent] = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        process.reader.wait(1)
        events += process.reader.take().events
        if any(e.type == kind for e in events):
            return events
    raise AssertionError(f"no {kind} event among {[e.type for e in events]}")


@pytest.fixture(scope="session")
def job_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("NORMLAB_")}


@pytest.fixture(scope="session")
def fresh(job_environment: dict[str, str]) -> FreshLauncher:
    return FreshLauncher(sys.executable, job_environment)


class NoFallback:
    def start(self, order: JobOrder) -> JobProcess:
        raise AssertionError("the warm host did not take the job")


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Wait for the answer of a warm host longer than a worker, which has a fallback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.warm_launcher._ANSWER_TIMEOUT_S", 120.0)
        yield


@pytest.fixture(scope="session")
def warm(job_environment: dict[str, str]) -> Iterator[WarmLauncher]:
    launcher = WarmLauncher(sys.executable, job_environment, NoFallback())
    assert launcher.warm_up(timeout_s=300)
    yield launcher
    launcher.close()


@pytest.fixture(params=["fresh", "warm"])
def launcher(request: pytest.FixtureRequest) -> Launcher:
    chosen: Launcher = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def floor(
    database: Database, database_url: str, broker_url: str, tmp_path: Path
) -> Iterator[Floor]:
    from .floor import Floor

    made = Floor(database, database_url, broker_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def reaper(database: Database) -> Iterator[None]:
    from service.jobs.reaper import Reaper
    from service.loops import Loop

    from .floor import LEASE_S

    loop = Loop("reaper", Reaper(database, LEASE_S).round, 0.2)
    loop.start()
    yield
    loop.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the server's user can always reach, whatever other runs of the tests do."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
