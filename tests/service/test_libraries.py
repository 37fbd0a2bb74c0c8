"""Jobs with networks of other libraries are admitted by what the inspecting process found."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.errors import FieldProblem
from normlab.specs.jobs import JobSpec
from service.admission import Admission
from service.inspections import Inspection, Unfit
from service.jobs import workers
from service.settings import Settings
from service.store.database import Database

MISSING = (FieldProblem("model.name", "timm is not installed where jobs run"),)
LACKS = Unfit(MISSING, lacks="timm")
UNKNOWN = Unfit((FieldProblem("model.name", "timm has no network 'x'; did you mean y?"),))


class Answers:
    """An inspector with one answer."""

    def __init__(self, answer: Inspection | Unfit | None) -> None:
        self.answer = answer
        self.asked = 0

    def look(self, spec: JobSpec) -> Inspection | Unfit | None:
        self.asked += 1
        return self.answer


def problems(
    database: Database,
    answer: Inspection | Unfit | None,
    name: str = "timm/resnet50",
    **fields: Any,
) -> list[str]:
    admission = Admission(database, Settings(), Answers(answer))
    spec = JobSpec.model_validate({"normalizer": "batch", "model": {"name": name}, **fields})
    return [str(problem) for problem in admission.problems(spec)]


def worker(database: Database, device: str = "cpu", **versions: str) -> None:
    workers.beat(
        database, worker=device, device=device, hostname="h", slots=1, busy=0, description="",
        memory_bytes=None, versions=versions,
    )  # fmt: skip


def test_what_the_inspecting_process_refuses_is_refused(database: Database) -> None:
    assert problems(database, UNKNOWN) == ["model.name: timm has no network 'x'; did you mean y?"]
    assert problems(database, LACKS) == ["model.name: timm is not installed where jobs run"]
    assert problems(database, Inspection(1, 1, True, "")) == []
    assert problems(database, None) == []  # not known now: the job process checks


def test_a_network_of_ours_is_not_asked_about(database: Database) -> None:
    assert problems(database, UNKNOWN, "resnet50") == []


def test_workers_without_the_library_are_told_how_to_get_it(database: Database) -> None:
    worker(database, torch="2.13.0")
    (said,) = problems(database, Inspection(1, 1, True, ""))
    assert said.startswith("model.name: no live worker has timm")
    assert "pip install 'normlab[zoo]'" in said


def test_a_worker_with_the_library_is_enough(database: Database) -> None:
    worker(database, torch="2.13.0", timm="1.0.31")
    assert problems(database, LACKS) == []
    assert problems(database, UNKNOWN) != []
    (said,) = problems(database, LACKS, "torchvision/resnet50")
    assert said.startswith("model.name: no live worker has torchvision")


def test_a_worker_that_has_not_looked_yet_may_have_it(database: Database) -> None:
    worker(database, python="3.11.2")
    assert problems(database, Inspection(1, 1, True, "")) == []


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_the_workers_of_the_jobs_device_count(database: Database, device: str) -> None:
    worker(database, torch="2.13.0", timm="1.0.31")
    worker(database, "cuda", torch="2.13.0")
    found = problems(database, Inspection(1, 1, True, ""), device=device)
    assert len(found) == (device == "cuda")
