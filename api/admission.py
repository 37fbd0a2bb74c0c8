"""The decision at the door: does a job break a rule, and on which device does it go."""

from __future__ import annotations

from collections.abc import Sequence

from api.state import State
from normlab.errors import FieldProblem, InvalidSpec
from normlab.records import Verdict, WorkerRecord
from normlab.specs import admission
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from service import norm_sources, workers
from service.grids import Check, Place
from service.placement import Estimate, Placement, place


def problems(state: State, spec: JobSpec) -> list[FieldProblem]:
    """List every rule that *spec* breaks, the operator's files included."""
    found = admission.check(spec, state.settings.datasets)
    if spec.device != "auto" and DEVICES[spec.device].traced and not found:
        found = _op_problems(state, spec)
    return found + norm_sources.problems(state.database, spec)


def admit(state: State, spec: JobSpec) -> Placement:
    """
    Choose the device of *spec*.

    Raises:
        InvalidSpec: with every rule that *spec* breaks.
    """
    refuse(problems(state, spec))
    live = workers.live(state.database)
    return place(
        spec, live, _estimate(state, spec, live), small_batch_limit=state.settings.small_batch_limit
    )


def place_of(state: State) -> Place:
    """Return how to choose devices for many jobs, with one look at the live workers."""
    live = workers.live(state.database)
    limit = state.settings.small_batch_limit

    def choose(spec: JobSpec) -> tuple[str, str]:
        placed = place(spec, live, small_batch_limit=limit)
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
