"""Choose the kind of device for a job, with a reason: one pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from normlab.errors import FieldProblem
from normlab.records import WorkerRecord
from normlab.specs.device_rules import problems, takers
from normlab.specs.devices import DEVICES, KINDS, DeviceFacts
from normlab.specs.jobs import JobSpec
from normlab.specs.sharding import share_of

PlaceOf = Callable[[JobSpec], tuple[str, str]]
"""Choose a device for a job, with the reason."""

Check = Callable[[JobSpec], Sequence[FieldProblem]]
"""Problems of a job that the schema cannot detect."""

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Traits:
    """The properties of a job that are known before it runs; None if it was not inspected."""

    memory_bytes: int | None = None
    ipu_problem: str | None = None
    """Why an IPU cannot run it."""


class Placement(NamedTuple):
    """The chosen kind of device, with the reason as a sentence."""

    device: str
    reason: str


def place(
    spec: JobSpec,
    workers: Sequence[WorkerRecord],
    traits: Traits = Traits(),
    small_batch_limit: int = 16,
    unable: Mapping[str, str] = _NOTHING,
) -> Placement:
    """
    Choose a device for *spec*, given the live *workers*.

    If the job names a device, that is chosen, even without a live worker. Otherwise: an IPU for a
    small batch if no known rule forbids it; else a CUDA device with enough memory; else a CPU.
    If only one kind of device can run the specification, the job waits for that kind.

    Args:
        unable: by kind of device why none of its live workers can load the job's code.
    """
    if spec.device != "auto":
        reason = _asked_for(spec, workers)
        return Placement(spec.device, _with_code(reason, spec.device, unable))
    against: list[str] = []
    for facts in reversed(DEVICES.values()):
        refusal = _against(facts, spec, workers, traits, small_batch_limit, unable)
        if refusal is None:
            reason = _for(facts, spec, workers, small_batch_limit)
            told = "; ".join([reason, *against])
            return Placement(facts.kind, _with_code(told, facts.kind, unable))
        against.append(f"no {facts.title} is taken: {refusal}")
    waits = "no other device can take the job, and no worker for this one is live, so it waits"
    kind = takers(spec)[0]  # admission refuses specifications that no device can run
    return Placement(kind, "; ".join([waits, *against]))


def _with_code(reason: str, device: str, unable: Mapping[str, str]) -> str:
    if device not in unable:
        return reason
    return (
        f"{reason}; but no live worker for {device} can load its code ({unable[device]}), so it "
        "waits for one"
    )


def too_large(device: str, needed_bytes: int, rooms: Sequence[int | None]) -> str | None:
    """
    Return that no worker for *device* has *needed_bytes* of memory; None if one has or may have it.

    Args:
        rooms: the memory of each known worker; None if a worker does not report it.
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
    too_few = _too_few(DEVICES[spec.device], spec, serving)
    return f"the job asks for it; {too_few}, so it waits" if too_few else "the job asks for it"


def _for(
    facts: DeviceFacts, spec: JobSpec, workers: Sequence[WorkerRecord], small_batch_limit: int
) -> str:
    if facts.prefers_small_batches:
        return (
            f"batch_size {spec.batch_size} is small (up to {small_batch_limit}), nothing known "
            f"speaks against an {facts.title}, and one is live"
        )
    if _serving(workers, facts.kind):
        return f"a {facts.title} is live"
    return f"any host has a {facts.title}, though no worker for it is live now, so it waits for one"


def _against(
    facts: DeviceFacts,
    spec: JobSpec,
    workers: Sequence[WorkerRecord],
    traits: Traits,
    small_batch_limit: int,
    unable: Mapping[str, str],
) -> str | None:
    refused = problems(spec, facts.kind)
    if refused:
        return f"{refused[0].field} {refused[0].rule}"
    if facts.kind == KINDS[0]:  # the last resort
        return None
    missing = _missing(workers, facts.kind)
    if missing:
        return missing
    if facts.kind in unable:
        return f"no live worker for it can load the job's code ({unable[facts.kind]})"
    if facts.prefers_small_batches and spec.batch_size > small_batch_limit:
        return f"batch_size {spec.batch_size} is above {small_batch_limit}"
    if facts.traced and traits.ipu_problem:
        return traits.ipu_problem
    serving = [worker for worker in _serving(workers, facts.kind) if worker.able]
    too_few = _too_few(facts, spec, serving)
    if too_few or traits.memory_bytes is None:
        return too_few
    needed = share_of(spec, traits.memory_bytes)
    return too_large(facts.kind, needed, [w.memory_bytes for w in serving])


def _too_few(facts: DeviceFacts, spec: JobSpec, serving: Sequence[WorkerRecord]) -> str | None:
    hosts = len({worker.address or worker.id for worker in serving})
    if (spec.hosts or 1) > hosts:
        return f"it needs {spec.hosts} hosts, and live workers for {facts.kind} are on {hosts}"
    # Each replica uses one unit, and a worker has one unit per slot.
    most, each = max(worker.slots for worker in serving), spec.replicas_per_host
    if not facts.owns_units or each <= most:
        return None
    return (
        f"each of {each} replicas needs a {facts.title} of its own, and no live worker "
        f"has more than {most}"
    )


def _missing(workers: Sequence[WorkerRecord], device: str) -> str | None:
    # A worker without its device is still useful: an IPU worker can emulate jobs that ask for it.
    serving = _serving(workers, device)
    if not serving:
        return f"no worker for {device} is live"
    if any(worker.able for worker in serving):
        return None
    return f"no live worker for {device} has one: {serving[0].why}"


def _serving(workers: Sequence[WorkerRecord], device: str) -> list[WorkerRecord]:
    return [worker for worker in workers if worker.device == device]
