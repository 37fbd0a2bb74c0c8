"""A reporter that records, and one small training with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

from accelerators import open_accelerator
from normlab.errors import JobStopped
from normlab.events import CheckpointWritten, Event
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from normlab.training.loop import fit
from tests.where import DEVICE


class Recorder:
    """Keep every point and event, in order."""

    def __init__(self) -> None:
        self.points: dict[str, list[tuple[int, float]]] = {}
        self.log: list[tuple[str, Any]] = []

    def metric(self, name: str, step: int, value: float) -> None:
        """Keep one point."""
        self.points.setdefault(name, []).append((step, value))
        self.log.append(("metric", (name, step)))

    def event(self, event: Event) -> None:
        """Keep one event."""
        self.log.append((type(event).__name__, event))

    def flush(self) -> None:
        """Record the call."""
        self.log.append(("flush", None))

    def events(self, name: str) -> list[Any]:
        """Return the events of one class."""
        return [event for kind, event in self.log if kind == name]

    def named_checkpoints(self) -> list[NamedCheckpoint]:
        """Return the checkpoints as a supervisor would pass them to the next attempt."""
        written: list[CheckpointWritten] = self.events("CheckpointWritten")
        return [NamedCheckpoint(w.step, Path(w.path), w.sha256) for w in written]


def small_job(**fields: Any) -> JobSpec:
    """Return a job of 2 epochs of 12 updates over 96 digits."""
    return JobSpec.model_validate(
        {
            "normalizer": "batch",
            "model": {"name": "preresnet8", "width": 4},
            "dataset": {"name": "digits", "train_size": 96, "test_size": 64},
            "batch_size": 8,
            "epochs": 2,
            "checkpoint": {"every_s": 3600},
            **fields,
        }
    )


def train(
    spec: JobSpec,
    folder: Path,
    resume: list[NamedCheckpoint] | None = None,
    should_stop: Callable[[], Optional[JobStopped]] = lambda: None,
    norms: Any = None,
    data_root: Path | None = None,
    weights: Path | None = None,
) -> tuple[Recorder, dict[str, Any] | JobStopped]:
    """
    Run an attempt with its files in *folder*; its data are there too, unless given.

    Return its reports, and its summary or the reason of its stop.
    """
    recorder = Recorder()
    checkpoints = CheckpointFolder(folder, spec.fingerprint(), resume or ())
    accelerator = open_accelerator(DEVICE if spec.device == "auto" else spec.device, spec, 1)
    try:
        root = data_root or folder
        given = {"norms": norms, "weights": weights}
        summary = fit(spec, accelerator, recorder, checkpoints, root, should_stop, **given)
    except JobStopped as e:
        return recorder, e
    return recorder, summary
