"""The admission of a job: whether it breaks a rule, and on which device it will run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from normlab.errors import FieldProblem, refuse
from normlab.records import Verdict, WorkerRecord
from normlab.specs import job_rules, sharding
from normlab.specs.costs import least_memory_bytes
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.shared_answers import SharedAnswers
from normlab.specs.zoo import INSTALL
from service.inspections import Unfit
from service.inspector import Inspector
from service.jobs import workers
from service.jobs.placement import Placement, Traits, place, too_large
from service.plugins import abilities
from service.results import continuing, norm_sources, weight_twins
from service.settings import Settings
from service.store.database import Database

_ALWAYS_THERE_BYTES = 1 << 28  # a need too small to query the database for


class Admission:
    """
    Check jobs before they are queued, with everything known about them and the workers.

    Args:
        settings: the dataset folder, and the largest batch that prefers an IPU.
        inspector: inspects a job's model, if the result can change the decision.
    """

    def __init__(self, database: Database, settings: Settings, inspector: Inspector) -> None:
        self._database = database
        self._settings = settings
        self._inspector = inspector

    def problems(self, spec: JobSpec) -> list[FieldProblem]:
        """List every rule that *spec* breaks, the operator's files included."""
        return self._problems(spec, job_rules.check(spec, self._settings.datasets))

    def checking(self) -> Callable[[JobSpec], list[FieldProblem]]:
        """Return `problems` for many jobs that differ in few fields, each rule asked as needed."""
        rules = job_rules.checker(self._settings.datasets)
        memory = SharedAnswers(self._memory_problems)
        return lambda spec: self._problems(spec, rules(spec), memory)

    def _problems(
        self,
        spec: JobSpec,
        found: list[FieldProblem],
        memory: Callable[[JobSpec], list[FieldProblem]] | None = None,
    ) -> list[FieldProblem]:
        if spec.device != "auto" and DEVICES[spec.device].traced and not found:
            found = self._library_problems(spec) or self._op_problems(spec)
        found = found or self._engine_problems(spec)
        found = found or self._library_problems(spec) or (memory or self._memory_problems)(spec)
        found += norm_sources.problems(self._database, spec)
        found += weight_twins.problems(self._database, spec)
        return found + continuing.problems(self._database, spec)

    def admit(self, spec: JobSpec, memory_bytes: int = 0) -> Placement:
        """
        Choose the device of *spec*.

        Args:
            memory_bytes: the estimated memory of the job, if it is known.

        Raises:
            InvalidSpec: with every rule that *spec* breaks.
        """
        refuse(self.problems(spec))
        live = workers.live(self._database)
        unable = abilities.unable(self._database, _required(spec)) if live else {}
        placed = self._place(spec, live, self._traits_of(spec, live), unable)
        return _with_memory(placed, live, max(memory_bytes, least_memory_bytes(spec)))

    def placing(self) -> Callable[[JobSpec], tuple[str, str]]:
        """Return a function that chooses devices for many jobs, with one query for live workers."""
        live = workers.live(self._database)
        unable = cache(lambda code: abilities.unable(self._database, code))
        return lambda spec: _with_memory(
            self._place(spec, live, Traits(), unable(_required(spec))),
            live,
            least_memory_bytes(spec),
        )

    def verdicts(self, spec: JobSpec) -> list[Verdict]:
        """Return for every kind of device whether it would accept *spec*, and why."""
        live = workers.live(self._database)
        return [self._verdict(spec, kind, live) for kind in DEVICES]

    def _place(
        self,
        spec: JobSpec,
        live: Sequence[WorkerRecord],
        traits: Traits,
        unable: Mapping[str, str],
    ) -> Placement:
        return place(spec, live, traits, self._settings.small_batch_limit, unable)

    def _verdict(self, spec: JobSpec, kind: str, live: Sequence[WorkerRecord]) -> Verdict:
        asked = spec.model_copy(update={"device": kind})
        found = self.problems(asked)
        if found:
            reason = f"{found[0].field}: {found[0].rule}"
            return Verdict(device=kind, accepted=False, reason=reason)
        reason = _serving([worker for worker in live if worker.device == kind], asked)
        lacking = abilities.unable(self._database, _required(asked)).get(kind)
        if lacking is not None:
            reason = f"{reason}, but none can load its code: {lacking}"
        inspection = self._inspector.ask(asked) if DEVICES[kind].traced else None
        if inspection is not None:
            reason = f"{inspection.ipu_message}; {reason}"
        return Verdict(device=kind, accepted=True, reason=reason)

    def _memory_problems(self, spec: JobSpec) -> list[FieldProblem]:
        least = least_memory_bytes(spec)
        if least < _ALWAYS_THERE_BYTES:
            return []
        # Workers that left within the last day count too: a job may wait for their memory.
        trouble = too_large(spec.device, least, workers.rooms(self._database, spec.device))
        if trouble is None:
            return []
        way_out = "lower batch_size or model.width, or start a worker with more memory"
        rule = f"{spec.batch_size} is too large here: {trouble}; {way_out}"
        return [FieldProblem("batch_size", rule)]

    def _engine_problems(self, spec: JobSpec) -> list[FieldProblem]:
        if spec.sharding != "full":
            return []
        probed = self._probed(spec)
        found = {worker.versions["torch"] for worker in probed or ()}
        if not found or any(map(sharding.has_engine, found)):
            return []
        least = ".".join(map(str, sharding.LEAST_TORCH))
        rule = f"'full' needs torch {least} or newer, and live workers have {', '.join(found)}"
        return [FieldProblem("sharding", f"{rule}; set it to 'off', or start a worker with one")]

    def _probed(self, spec: JobSpec) -> list[WorkerRecord] | None:
        """Return the live workers for *spec*; None if one has not yet reported its facts."""
        live = workers.live(self._database)
        serving = [w for w in live if spec.device in ("auto", w.device)]
        return serving if all("torch" in w.versions for w in serving) else None

    def _library_problems(self, spec: JobSpec) -> list[FieldProblem]:
        facts = MODELS.get(spec.model.name)
        if facts is None or facts.package is None:
            return []
        probed = self._probed(spec)
        having = [w for w in probed or () if facts.package in w.versions]
        if probed and not having:
            return [FieldProblem("model.name", _lacking(facts.package))]
        found = self._inspector.look(spec)
        if not isinstance(found, Unfit) or (found.lacks is not None and having):
            return []  # the job process looks again
        return list(found.problems)

    def _op_problems(self, spec: JobSpec) -> list[FieldProblem]:
        inspection = self._inspector.ask(spec)
        if inspection is None or inspection.ipu_passes:  # unknown: the job process checks again
            return []
        return [FieldProblem("device", inspection.ipu_message)]

    def _traits_of(self, spec: JobSpec, live: Sequence[WorkerRecord]) -> Traits:
        # Only if the answer can change the choice: an inspection needs a process with torch.
        if spec.device != "auto" or all(DEVICES[w.device].shares_host_memory for w in live):
            return Traits()
        inspection = self._inspector.ask(spec)
        if inspection is None:
            return Traits()
        refused = None if inspection.ipu_passes else inspection.ipu_message
        return Traits(memory_bytes=inspection.memory_bytes, ipu_problem=refused)


def _required(spec: JobSpec) -> tuple[str, ...]:
    return abilities.required(spec.code, spec.model.name)


def _lacking(package: str) -> str:
    return (
        f"no live worker has {package}: install it in the environment of its jobs with {INSTALL}, "
        "and start the worker again"
    )


def _with_memory(placed: Placement, live: Sequence[WorkerRecord], needed_bytes: int) -> Placement:
    """Add to the reason of *placed* that no live worker has enough memory, if that is so."""
    rooms = [worker.memory_bytes for worker in live if worker.device == placed.device]
    trouble = too_large(placed.device, needed_bytes, rooms)
    return placed if trouble is None else placed._replace(reason=f"{placed.reason}; but {trouble}")


def _serving(workers: Sequence[WorkerRecord], spec: JobSpec) -> str:
    if not workers:
        return "no worker is live, so the job would wait for one"
    able = sum(worker.able for worker in workers)
    if able or spec.ipu_runtime == "emulated":
        return f"{able or len(workers)} live"
    return f"{len(workers)} live, and none has the device: {workers[0].why}"
