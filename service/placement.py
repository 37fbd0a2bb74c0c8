"""On which kind of device a job runs, and why: one pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from normlab.records import WorkerRecord
from normlab.specs.jobs import JobSpec


@dataclass(frozen=True)
class Estimate:
    """What is known of a job before it runs; None where nobody has looked."""

    memory_bytes: int | None = None
    ipu_problem: str | None = None
    """Why an IPU cannot run it."""


class Placement(NamedTuple):
    """The kind of device that was chosen, with a sentence for its reason."""

    device: str
    reason: str


def place(
    spec: JobSpec,
    workers: Sequence[WorkerRecord],
    estimate: Estimate = Estimate(),
    small_batch_limit: int = 16,
) -> Placement:
    """
    Choose a device for *spec*, given the live *workers*.

    A device that the job names is taken, even if nobody serves it now. Otherwise: an IPU for a
    small batch that it can run; else a CUDA device that has the memory; else a CPU.
    """
    if spec.device != "auto":
        return Placement(spec.device, _asked_for(spec.device, workers))
    against_ipu = _against_ipu(spec, workers, estimate, small_batch_limit)
    if against_ipu is None:
        return Placement(
            "ipu",
            f"batch_size {spec.batch_size} is small (up to {small_batch_limit}), an IPU can run "
            "the job, and one is live",
        )
    against_cuda = _against_cuda(spec, workers, estimate)
    if against_cuda is None:
        return Placement("cuda", f"a CUDA device is live, and no IPU is taken: {against_ipu}")
    return Placement("cpu", f"no CUDA device is taken: {against_cuda}; no IPU: {against_ipu}")


def _asked_for(device: str, workers: Sequence[WorkerRecord]) -> str:
    if _serving(workers, device):
        return "the job asks for it"
    return f"the job asks for it; no worker for {device} is live now, so it waits for one"


def _against_ipu(
    spec: JobSpec, workers: Sequence[WorkerRecord], estimate: Estimate, small_batch_limit: int
) -> str | None:
    if not _serving(workers, "ipu"):
        return "no worker for ipu is live"
    if spec.batch_size > small_batch_limit:
        return f"batch_size {spec.batch_size} is above {small_batch_limit}"
    if not spec.normalizer.runs_on_ipu:
        return (
            f"normalizer {spec.normalizer.kind!r} does not run there, {spec.normalizer.ipu_reason}"
        )
    if spec.acceleration != "none":
        return f"acceleration {spec.acceleration!r} is for cuda"
    if spec.optimizer.norms_of is not None:
        return "the norms of another job steer weights on the host"
    return estimate.ipu_problem


def _against_cuda(spec: JobSpec, workers: Sequence[WorkerRecord], estimate: Estimate) -> str | None:
    serving = _serving(workers, "cuda")
    if not serving:
        return "no worker for cuda is live"
    if estimate.memory_bytes is None:
        return None
    room = [worker.memory_bytes for worker in serving if worker.memory_bytes is not None]
    if len(room) < len(serving) or max(room) >= estimate.memory_bytes:
        return None
    needed, there = estimate.memory_bytes / 2**30, max(room) / 2**30
    return f"the job needs about {needed:.1f} GiB, and the largest has {there:.1f} GiB"


def _serving(workers: Sequence[WorkerRecord], device: str) -> list[WorkerRecord]:
    return [worker for worker in workers if worker.device == device]
