"""A job that must be sharded is refused if no worker can do that."""

from __future__ import annotations

from typing import Any

from normlab.specs.jobs import JobSpec
from service.admission import Admission
from service.inspector import Inspector
from service.jobs import workers
from service.settings import Settings
from service.store.database import Database


def problems(database: Database, **fields: Any) -> list[str]:
    admission = Admission(database, Settings(), Inspector(Settings()))
    spec = JobSpec.model_validate({"normalizer": "batch", "replicas": 2, **fields})
    return [str(problem) for problem in admission.problems(spec)]


def worker(database: Database, name: str, **versions: str) -> None:
    workers.beat(
        database, worker=name, device="cpu", hostname="h", slots=1, busy=0, description="",
        memory_bytes=None, versions=versions,
    )  # fmt: skip


def test_workers_with_an_older_torch_are_named_at_the_door(database: Database) -> None:
    assert problems(database, sharding="full") == []
    worker(database, "old", torch="2.0.1+cpu")
    (said,) = problems(database, sharding="full")
    assert said.startswith("sharding: 'full' needs torch 2.6 or newer, and live workers have 2.0.1")
    assert "set it to 'off'" in said
    assert problems(database) == problems(database, sharding="off") == []
    worker(database, "new", torch="2.13.0+cpu")
    assert problems(database, sharding="full") == []
