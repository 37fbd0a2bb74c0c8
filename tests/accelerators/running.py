"""One small training on any accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence, Tuple

from accelerators import open_accelerator
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from normlab.training.loop import fit
from tests.normlab.training.recording import Recorder, small_job


def emulated_job(**fields: Any) -> JobSpec:
    """Return a small job for the emulated IPU."""
    return small_job(**{"device": "ipu", "ipu_runtime": "emulated", **fields})


def train(
    spec: JobSpec,
    folder: Path,
    resume: Sequence[NamedCheckpoint] = (),
    should_stop: Any = lambda: None,
) -> Tuple[Recorder, dict[str, Any]]:
    """Run an attempt on the device in *spec*; return its reports and its summary."""
    recorder = Recorder()
    checkpoints = CheckpointFolder(folder, spec.fingerprint(), resume)
    accelerator = open_accelerator(spec.device, spec, threads=1)
    summary = fit(spec, accelerator, recorder, checkpoints, folder, should_stop)
    return recorder, summary
