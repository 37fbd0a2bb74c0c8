"""On which kind of device a job runs, and why: one pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from normlab.ipu_check import rules
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
    small batch that nothing known forbids; else a CUDA device that has the memory; else a CPU.
    """
    if spec.device != "auto":
        return Placement(spec.device, _asked_for(spec, workers))
    against_ipu = _against_ipu(spec, workers, estimate, small_batch_limit)
    if against_ipu is None:
        return Placement(
            "ipu",
            f"batch_size {spec.batch_size} is small (up to {small_batch_limit}), nothing known "
            "speaks against an IPU, and one is live",
        )
    against_cuda = _against_cuda(spec, workers, estimate)
    if against_cuda is None:
        return Placement("cuda", f"a CUDA device is live, and no IPU is taken: {against_ipu}")
    return Placement("cpu", f"no CUDA device is taken: {against_cuda}; no IPU: {against_ipu}")


def too_large(device: str, needed_bytes: int, rooms: Sequence[int | None]) -> str | None:
    """
    Say that no worker for *device* can hold *needed_bytes*, or None if one can or may.

    Args:
        rooms: the memory of each worker that is known; None where one does not say.
    """
    known = [room for room in rooms if room is not None]
    if not known or len(known) < len(rooms) or needed_bytes <= max(known):
        return None
    needed, most = needed_bytes / 2**30, max(known) / 2**30
    return (
        f"it needs {needed:,.1f} GiB or more, and no worker for {device} has over {most:,.1f} GiB"
    )


def _asked_for(spec: JobSpec, workers: Sequence[WorkerRecord]) -> str:
    serving = _serving(workers, spec.device)
    if not serving:
        return f"the job asks for it; no worker for {spec.device} is live now, so it waits for one"
    missing = _missing(workers, spec.device) if spec.ipu_runtime == "hardware" else None
    if missing:
        return f"the job asks for it, though {missing}"
    too_few = _too_few_gpus(spec, serving) if spec.device == "cuda" else None
    return f"the job asks for it; {too_few}, so it waits" if too_few else "the job asks for it"


def _against_ipu(
    spec: JobSpec, workers: Sequence[WorkerRecord], estimate: Estimate, small_batch_limit: int
) -> str | None:
    missing = _missing(workers, "ipu")
    if missing:
        return missing
    if spec.batch_size > small_batch_limit:
        return f"batch_size {spec.batch_size} is above {small_batch_limit}"
    refused = rules.problems(spec)
    if refused:
        return f"{refused[0].field} {refused[0].rule}"
    problem = spec.acceleration_problem("ipu")
    if problem is not None:
        return problem
    if spec.optimizer.norms_of is not None:
        return "the norms of another job steer weights on the host"
    return estimate.ipu_problem


def _against_cuda(spec: JobSpec, workers: Sequence[WorkerRecord], estimate: Estimate) -> str | None:
    missing = _missing(workers, "cuda")
    if missing:
        return missing
    problem = spec.acceleration_problem("cuda")
    if problem is not None:
        return problem
    serving = [worker for worker in _serving(workers, "cuda") if worker.able]
    too_few = _too_few_gpus(spec, serving)
    if too_few or estimate.memory_bytes is None:
        return too_few
    room = [worker.memory_bytes for worker in serving if worker.memory_bytes is not None]
    if len(room) < len(serving) or max(room) >= estimate.memory_bytes:
        return None
    needed, there = estimate.memory_bytes / 2**30, max(room) / 2**30
    return f"the job needs about {needed:.1f} GiB, and the largest has {there:.1f} GiB"


def _too_few_gpus(spec: JobSpec, serving: Sequence[WorkerRecord]) -> str | None:
    # A replica takes a GPU, and a worker has one for each of its slots.
    most = max(worker.slots for worker in serving)
    if spec.replicas <= most:
        return None
    return f"{spec.replicas} replicas need as many GPUs, and no live worker has more than {most}"


def _missing(workers: Sequence[WorkerRecord], device: str) -> str | None:
    # A worker without its device still serves: an IPU's may emulate what asks for that.
    serving = _serving(workers, device)
    if not serving:
        return f"no worker for {device} is live"
    if any(worker.able for worker in serving):
        return None
    return f"no live worker for {device} has one: {serving[0].why}"


def _serving(workers: Sequence[WorkerRecord], device: str) -> list[WorkerRecord]:
    return [worker for worker in workers if worker.device == device]
