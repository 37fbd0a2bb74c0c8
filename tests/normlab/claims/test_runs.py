"""A claim's page says for how long, where and when its jobs ran: as they recorded it themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

from normlab.claims.page import section
from normlab.claims.runs import how_it_ran
from tests.normlab.claims.test_pictures import CLAIMS, Study, verdict_of

BEGIN = datetime(2026, 11, 3, 23, 30, tzinfo=timezone.utc)
HOST = {"system": "Linux-6.1-x86_64", "machine": "x86_64"}
EPYC = {"description": "AMD EPYC, 2 cores", "host": HOST, "versions": {"torch": "2.13.0"}}


class Ran(Study):
    """A store in which the job at place i began after so many minutes."""

    def __init__(
        self, minutes: list[float], *environments: dict[str, Any], took: float = 1
    ) -> None:
        super().__init__(CLAIMS["a-batch-size"])
        self.minutes, self.environments, self.took = minutes, environments, took

    def get(self, job: str) -> Any:
        place = int(job) % len(self.minutes)
        start = BEGIN + timedelta(minutes=self.minutes[place])
        attempt = SimpleNamespace(environment=self.environments[place % len(self.environments)])
        end = start + timedelta(minutes=self.took)
        return SimpleNamespace(started_at=start, finished_at=end, attempts=[attempt])


def told(store: Ran) -> str:
    return how_it_ran(verdict_of(store.claim, store), store)


def test_jobs_that_ran_at_once_count_once() -> None:
    said = "on AMD EPYC, 2 cores, Linux x86_64, torch 2.13.0, on 2026-11-03"
    assert told(Ran([0, 0.5, 5], EPYC)) == f"2 min {said}"
    assert told(Ran([0], EPYC)) == f"60 s {said}"


def test_all_machines_and_days_are_named_whatever_machine_writes_the_page() -> None:
    gpu = {**EPYC, "description": "NVIDIA H200"}
    machines = "AMD EPYC, 2 cores, Linux x86_64, torch 2.13.0 and NVIDIA H200, Linux x86_64"
    found = told(Ran([0, 60], EPYC, gpu))
    assert f" on {machines}, torch 2.13.0, from 2026-11-03 to 2026-11-04" in found


def test_a_job_of_an_earlier_version_that_recorded_little_has_no_machine() -> None:
    assert told(Ran([0], {})) == "60 s, on 2026-11-03"


def test_the_section_says_it() -> None:
    store = Ran([0], EPYC)
    verdict = verdict_of(store.claim, store)
    said = f"Its jobs ran for {how_it_ran(verdict, store)}."
    assert said in section(replace(verdict, ran=how_it_ran(verdict, store)), "a.png")
    assert "Its jobs ran" not in section(verdict, "a.png")
