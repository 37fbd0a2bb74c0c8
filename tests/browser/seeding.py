"""Jobs in every state, with curves, logs and files, for the pages to show."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from normlab.events import (
    ArtifactWritten,
    CheckpointWritten,
    Failed,
    Finished,
    Progress,
    Series,
    Started,
)
from normlab.records import StudyRecord
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import changes, leases, submissions, workers
from service.jobs.leases import Lease
from service.results import logs, reports
from service.store.database import Database
from service.studies import studies

Curve = Callable[[int], float]


def submit(database: Database, device: str = "cpu", **fields: Any) -> str:
    spec = JobSpec.model_validate({"normalizer": "batch", "dataset": {"name": "digits"}, **fields})
    record, _ = submissions.submit(
        database, spec, owner="ada", device=device, device_reason="the only one", steps=400
    )
    return record.id


def claim(database: Database) -> Lease:
    found = leases.claim(database, "cpu", "worker-1", 3600)
    assert found is not None
    return found


def report(database: Database, claimed: Lease, steps: int, folder: Path) -> None:
    """Report the metrics of a job with *steps* updates."""
    seed = claimed.spec.seed
    suffers = 0.4 if claimed.spec.normalizer.kind == "batch" else 0.05
    spread = 0.02 + suffers / claimed.spec.batch_size
    curves: dict[str, tuple[Curve, int]] = {
        "train/loss": (lambda s: 2.3 * math.exp(-s / 150) + spread * math.sin(7 * s + seed), 1),
        "train/learning_rate": (lambda s: 0.05 * (1 + math.cos(math.pi * s / 400)), 1),
        "device/cpu_percent": (lambda s: 180 + 15 * math.sin(s), 40),
        "device/memory_bytes": (lambda s: 2**29 + s * 2**18, 40),
        "val/loss": (lambda s: 2.2 * math.exp(-s / 180) + spread, 40),
        "val/accuracy": (lambda s: 0.95 - 0.8 * math.exp(-s / 120) - spread + seed / 200, 40),
    }
    environment = {"runtime": "cpu", "torch": "2.13.0"}
    path = folder / "step-40.safetensors"
    path.write_bytes(b"weights")
    written = {"path": str(path), "sha256": "0" * 64, "bytes": 7}
    told = [
        Started(step=0, environment=environment),
        *(_metrics(name, curve, every, steps) for name, (curve, every) in curves.items()),
        Progress(step=steps, steps=400, epoch=steps // 80, epochs=5),
        CheckpointWritten(step=40, **written),
        ArtifactWritten(name="weights.safetensors", **written),
    ]
    assert reports.keep_all(database, claimed, told)
    text = "".join(f"epoch {i}: loss {2.3 * math.exp(-i / 2):.3f}\n" for i in range(steps // 80))
    with database.begin() as connection:
        logs.append(connection, claimed, 0, f"training on cpu\n{text}".encode())


def _metrics(name: str, curve: Curve, every: int, steps: int) -> Any:
    from normlab.events import Metrics

    at = list(range(every, steps + 1, every))
    series = Series(steps=at, values=[curve(s) for s in at], times=[float(s) for s in at])
    return Metrics(series={name: series})


def finish(database: Database, claimed: Lease, folder: Path) -> None:
    """Finish a job successfully."""
    report(database, claimed, 400, folder)
    leases.finish(database, claimed, Finished(step=400, summary={"val/accuracy": 0.93}))


def fill(database: Database, folder: Path) -> dict[str, str]:
    """Make one job in every state; return them by state."""
    beat(database)
    made = {
        "succeeded": submit(
            database,
            name="group with proxy",
            batch_size=4,
            normalizer={"kind": "group", "proxy": True},
        )
    }
    finish(database, claim(database), folder)
    made["failed"] = submit(database, name="too large a rate")
    failing = claim(database)
    report(database, failing, 80, folder)
    reason = "the loss became NaN at update 81; try a smaller learning rate"
    error = Failed(code="loss_not_finite", failure_kind="user", retryable=False, message=reason)
    leases.fail(database, failing, error)
    made["cancelled"] = submit(database, name="not wanted any more", normalizer="layer")
    changes.cancel(database, made["cancelled"])
    made["running"] = submit(database, name="under way", normalizer="online", batch_size=1)
    report(database, claim(database), 200, folder)
    made["queued"] = submit(database, device="cuda", name="waits for a GPU", batch_size=64)
    return made


def beat(database: Database) -> None:
    """Register a live worker."""
    workers.beat(
        database,
        worker="worker-1",
        device="cpu",
        hostname="laptop",
        slots=2,
        busy=1,
        description="8 cores",
        memory_bytes=16 * 2**30,
        versions={"python": "3.11.7", "torch": "2.13.0"},
        silence_s=3600,
    )


def fill_study(database: Database, folder: Path, done: int = 16) -> StudyRecord:
    """Make a study of 18 cells, of which *done* have succeeded and one has failed."""
    spec = StudySpec.model_validate(
        {
            "name": "small batches",
            "base": {"dataset": {"name": "digits"}},
            "axes": {
                "normalizer": ["batch", "group", {"kind": "group", "proxy": True}],
                "batch_size": [32, 8, 2],
            },
            "seeds": 2,
            "priority": 10,
        }
    )
    found = studies.create(
        database, spec, owner="ada", place=lambda _: ("cpu", "the only one"), check=lambda _: []
    )
    study = found[0] if isinstance(found, tuple) else found
    for _ in range(done):
        finish(database, claim(database), folder)
    error = Failed(code="lost", failure_kind="lost", retryable=False, message="its worker is gone")
    leases.fail(database, claim(database), error)
    return study


LINKED = {
    "name": "equal updates",
    "base": {"dataset": {"name": "digits"}},
    "axes": [
        {"batch_size": [32, 8, 2], "epochs": [16, 4, 1]},
        {"normalizer": ["batch", "layer"]},
    ],
    "exclude": [{"normalizer": "batch", "batch_size": [2]}],
    "seeds": [0, 1],
}
"""The study with linked axes of docs/studies.md."""


def fill_linked_study(database: Database, folder: Path, done: int = 10) -> StudyRecord:
    """Make the documented study of 10 cells with linked axes, of which *done* have succeeded."""
    study, _ = studies.create(
        database,
        StudySpec.model_validate(LINKED),
        owner="ada",
        place=lambda _: ("cpu", "the only one"),
        check=lambda _: [],
    )
    for _ in range(done):
        finish(database, claim(database), folder)
    return study
