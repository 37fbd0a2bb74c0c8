"""Studies with finished jobs and known numbers."""

from __future__ import annotations

import time
from typing import Any

from normlab.events import Failed, Finished, Series
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import leases
from service.results import metric_reports
from service.store.database import Database
from service.studies import studies

# Accuracy over three evaluations: by kind and batch, plus a hundredth per seed.
LEVEL = {("batch", 32): 0.9, ("batch", 2): 0.7, ("layer", 32): 0.8, ("layer", 2): 0.8}


def curve(spec: JobSpec) -> list[float]:
    kind = spec.normalizer.model_dump()["kind"]
    top = LEVEL[kind, spec.batch_size] + spec.seed / 100
    return [top - 0.3, top + 0.05, top]


def finish_all(database: Database, *, failing: tuple[str, int] | None = None) -> None:
    while (claim := leases.claim(database, "cpu", "w", 30)) is not None:
        kind = claim.spec.normalizer.model_dump()["kind"]
        if failing == (kind, claim.spec.seed):
            broken = Failed(code="x", failure_kind="user", retryable=False, message="broken")
            leases.fail(database, claim, broken)
            continue
        now = time.time()
        values = curve(claim.spec)
        series = Series(steps=[10, 20, 30], values=values, times=[now] * 3)
        with database.begin() as connection:
            metric_reports.append(connection, claim, {"val/accuracy": series})
        leases.finish(database, claim, Finished(step=30, summary={}))


def made(database: Database, spec: dict[str, Any]) -> str:
    return studies.create(
        database,
        StudySpec.model_validate(spec),
        owner="ada",
        place=lambda _: ("cpu", "test"),
        check=lambda _: [],
    )[0].id
