"""The decision at the door: does a job break a rule, and on which device does it go."""

from __future__ import annotations

from collections.abc import Sequence

from api.state import State
from normlab.errors import FieldProblem, InvalidSpec
from normlab.records import Verdict, WorkerRecord
from normlab.specs import admission
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from normlab.specs.memory import least_memory_bytes
from service.jobs import workers
from service.jobs.placement import Estimate, Placement, place, too_large
from service.results import norm_sources
from service.studies.grids import Check, Place

_ALWAYS_THERE_BYTES = 1 << 28  # too little to ask the database about


def problems(state: State, spec: JobSpec) -> list[FieldProblem]:
    """List every rule that *spec* breaks, the operator's files included."""
    found = admission.check(spec, state.settings.datasets)
    if spec.device != "auto" and DEVICES[spec.device].traced and not found:
        found = _op_problems(state, spec)
    found = found or _memory_problems(state, spec)
    return found + norm_sources.problems(state.database, spec)


def admit(state: State, spec: JobSpec, memory_bytes: int = 0) -> Placement:
    """
    Choose the device of *spec*.

    Args:
        memory_bytes: that the job is estimated to need, where somebody has looked.

    Raises:
        InvalidSpec: with every rule that *spec* breaks.
    """
    refuse(problems(state, spec))
    live = workers.live(state.database)
    placed = place(
        spec, live, _estimate(state, spec, live), small_batch_limit=state.settings.small_batch_limit
    )
    return _with_memory(placed, live, max(memory_bytes, least_memory_bytes(spec)))


def _with_memory(placed: Placement, live: Sequence[WorkerRecord], needed_bytes: int) -> Placement:
    """Add to the reason of *placed* that no live worker could hold the job, if that is so."""
    rooms = [worker.memory_bytes for worker in live if worker.device == placed.device]
    trouble = too_large(placed.device, needed_bytes, rooms)
    return placed if trouble is None else placed._replace(reason=f"{placed.reason}; but {trouble}")


def place_of(state: State) -> Place:
    """Return how to choose devices for many jobs, with one look at the live workers."""
    live = workers.live(state.database)
    limit = state.settings.small_batch_limit

    def choose(spec: JobSpec) -> tuple[str, str]:
        placed = place(spec, live, small_batch_limit=limit)
        placed = _with_memory(placed, live, least_memory_bytes(spec))
        return placed.device, placed.reason

    return choose


def check_of(state: State) -> Check:
    """Return what finds the rules that a job breaks."""
    return lambda spec: problems(state, spec)


def refuse(found: Sequence[FieldProblem]) -> None:
    """Raise InvalidSpec if anything was *found*."""
    if found:
        raise InvalidSpec("; ".join(f"{p.field}: {p.rule}" for p in found), found)


def verdicts(state: State, spec: JobSpec) -> list[Verdict]:
    """Say for every kind of device whether it would take *spec*, and why."""
    live = workers.live(state.database)
    return [_verdict(state, spec, kind, live) for kind in DEVICES]


def _verdict(state: State, spec: JobSpec, kind: str, live: Sequence[WorkerRecord]) -> Verdict:
    asked = spec.model_copy(update={"device": kind})
    found = problems(state, asked)
    if found:
        return Verdict(device=kind, accepted=False, reason=found[0].rule)
    reason = _serving([worker for worker in live if worker.device == kind], asked)
    inspection = state.inspector.ask(asked) if DEVICES[kind].traced else None
    if inspection is not None:
        reason = f"{inspection.ipu_message}; {reason}"
    return Verdict(device=kind, accepted=True, reason=reason)


def _serving(workers: Sequence[WorkerRecord], spec: JobSpec) -> str:
    if not workers:
        return "no worker is live, so the job would wait for one"
    able = sum(worker.able for worker in workers)
    if able or spec.ipu_runtime == "emulated":
        return f"{able or len(workers)} live"
    return f"{len(workers)} live, and none has the device: {workers[0].why}"


def _memory_problems(state: State, spec: JobSpec) -> list[FieldProblem]:
    least = least_memory_bytes(spec)
    if least < _ALWAYS_THERE_BYTES:
        return []
    # Workers that left within the day count: what they could hold may be waited for.
    trouble = too_large(spec.device, least, workers.rooms(state.database, spec.device))
    if trouble is None:
        return []
    way_out = "lower batch_size or model.width, or start a worker with more memory"
    return [
        FieldProblem("batch_size", f"{spec.batch_size} is too large here: {trouble}; {way_out}")
    ]


def _op_problems(state: State, spec: JobSpec) -> list[FieldProblem]:
    inspection = state.inspector.ask(spec)
    if inspection is None or inspection.ipu_passes:  # unknown: the job process checks again
        return []
    return [FieldProblem("device", inspection.ipu_message)]


def _estimate(state: State, spec: JobSpec, live: Sequence[WorkerRecord]) -> Estimate:
    # Asked only where the answer can change the choice: it costs a process that has torch.
    if spec.device != "auto" or all(DEVICES[w.device].shares_host_memory for w in live):
        return Estimate()
    inspection = state.inspector.ask(spec)
    if inspection is None:
        return Estimate()
    refused = None if inspection.ipu_passes else inspection.ipu_message
    return Estimate(memory_bytes=inspection.memory_bytes, ipu_problem=refused)
