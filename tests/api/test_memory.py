"""A job too large for all live workers says so; it is refused if no known worker could hold it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from normlab.specs.costs import least_memory_bytes
from normlab.specs.jobs import JobSpec
from service.jobs import workers
from service.store.database import Database
from tests.api.conftest import a_job

HUGE: dict[str, Any] = a_job(model={"name": "convnet", "width": 256}, batch_size=1024)


def beat(database: Database, name: str, memory_bytes: int | None) -> None:
    workers.beat(
        database, worker=name, device="cpu", hostname="h", slots=1, busy=0, description="d",
        memory_bytes=memory_bytes, versions={},
    )  # fmt: skip


def test_the_minimum_memory_is_that_of_the_inputs_of_the_normalizers() -> None:
    spec = JobSpec.model_validate(HUGE)
    side, width = 16, 256  # of digits, as in a training
    maps = [width * side**2, 2 * width * (side // 2) ** 2, 4 * width * (side // 4) ** 2]
    assert least_memory_bytes(spec) == 4 * 1024 * 2 * sum(maps)
    assert least_memory_bytes(spec.model_copy(update={"epochs": 0})) == 0


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_a_job_too_large_for_every_known_worker_is_refused_with_the_numbers(
    client: httpx.Client, database: Database, path: str
) -> None:
    beat(database, "small", 1 << 29)
    answer = client.post(path, json=HUGE)
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["field"] == "batch_size"
    assert "no worker for auto has over 0.5 GiB" in problem["rule"]


def test_a_study_with_such_a_cell_is_refused(client: httpx.Client, database: Database) -> None:
    beat(database, "small", 1 << 29)
    study = {"name": "s", "base": HUGE, "axes": {"batch_size": [8, 1024]}}
    assert client.post("/v1/studies", json=study).status_code == 422


def test_a_job_that_fits_only_a_former_worker_is_accepted_with_a_note(
    client: httpx.Client, database: Database
) -> None:
    beat(database, "small", 1 << 29)
    beat(database, "large", 1 << 40)
    with database.begin() as connection:
        connection.execute(text("update worker set live_until = now() where id = 'large'"))
    answer = client.post("/v1/jobs", json=HUGE)
    assert answer.status_code == 202
    assert "no worker for cpu has over 0.5 GiB" in answer.json()["device_reason"]


@pytest.mark.parametrize("memory_bytes", [None, 1 << 40])
def test_a_job_that_may_fit_is_accepted_without_a_note(
    client: httpx.Client, database: Database, memory_bytes: int | None
) -> None:
    beat(database, "a", memory_bytes)
    answer = client.post("/v1/jobs", json=HUGE)
    assert answer.status_code == 202
    assert "GiB" not in answer.json()["device_reason"]
