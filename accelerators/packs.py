"""A pack of jobs in one process: each runs its ordinary training, and they share each update."""

from __future__ import annotations

import copy
import importlib
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from accelerators.cpu_packs import CpuPacks
from accelerators.lockstep import Lockstep
from accelerators.member_decisions import Agreement, Decisions
from accelerators.pack_gain import measured_gain
from accelerators.thread_choice import take_threads
from normlab.data.opening import opened
from normlab.data.stream import Stream
from normlab.data.training_data import TrainingData
from normlab.errors import FieldProblem, InvalidSpec, PackFellApart
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from normlab.specs.packs import obstacle
from normlab.training.accelerator import Probe, StepResult
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import StopRequest, fit
from normlab.training.packs.session import PackSession
from normlab.training.reporting import Reporter


class Member(NamedTuple):
    """A job of a pack, with the arguments of `fit` for it."""

    spec: JobSpec
    reporter: Reporter
    checkpoints: CheckpointFolder
    should_stop: StopRequest
    weights: Optional[Path] = None  # the file that its `init_from` names


class _Enter(NamedTuple):
    model: nn.Module
    spec: JobSpec


class _Settle(NamedTuple):
    x: Tensor
    y: Tensor


class _Train(NamedTuple):
    learning_rate: float
    progress: float
    x: Tensor
    y: Tensor


class _Evaluate(NamedTuple):
    learning_rate: float
    progress: float
    x: Tensor
    y: Tensor


def fit_pack(
    members: Sequence[Member],
    data_root: Path,
    threads: Optional[int] = None,
    ended: Callable[[int, Any], None] = lambda member, outcome: None,
    kind: str = "cpu",
) -> List[Any]:
    """
    Train the *members* as one pack; return the result or error of each one's `fit`.

    Each has its own data order, initial weights, metrics, events and checkpoints, as if the job
    ran alone. A member that fails, is stopped or diverges leaves, and the others continue.
    Members that resume must have done the same number of updates.

    Args:
        threads: the pack's threads on the host; None is one.
        ended: called with a member's number and outcome when it leaves, while the others continue.
        kind: the kind of device.

    Raises:
        InvalidSpec: the jobs cannot be members of one pack; the message names the field.
        DeviceUnavailable: the device is not available here.
    """
    specs = [member.spec for member in members]
    problem = obstacle(specs, kind)
    if problem is not None:
        rule = f"{problem.rule}; train such jobs one by one"
        raise InvalidSpec.of([FieldProblem(problem.field, rule)])
    return _fit_on(open_packs(kind, specs[0], threads), members, data_root, ended)


def open_packs(kind: str, spec: JobSpec, threads: Optional[int] = None) -> CpuPacks:
    """Open the device *kind* for packs of jobs such as *spec*."""
    facts = DEVICES[kind].packs
    if facts is None:
        raise InvalidSpec(f"device: packs do not run on {kind}")
    opened: CpuPacks = importlib.import_module(facts.adapter).open_packs(spec, threads)
    return opened


def _fit_on(
    device: CpuPacks,
    members: Sequence[Member],
    data_root: Path,
    ended: Callable[[int, Any], None],
) -> List[Any]:
    pack = _Pack([member.spec for member in members], device)
    decisions = Decisions(pack.lockstep, [member.should_stop for member in members])
    shared = _Shared(device)
    works = [
        partial(
            fit,
            member.spec,
            _MemberAccelerator(pack, i),
            member.reporter,
            member.checkpoints,
            data_root,
            partial(decisions.stop, i),
            Agreement(decisions),
            weights=member.weights,
            open_data=shared,
        )
        for i, member in enumerate(members)
    ]
    with device.computing():
        try:
            return pack.lockstep.run(works, ended)
        finally:
            pack.close()


class _Shared:
    """Opens the data once for all members, if this uses no random numbers of a member."""

    def __init__(self, device: CpuPacks) -> None:
        self._device = device
        self._data: Optional[TrainingData] = None

    @contextmanager
    def __call__(self, spec: JobSpec, root: Path, stop: StopRequest) -> Iterator[TrainingData]:
        if self._data is not None:
            yield self._data
            return
        before = torch.get_rng_state()
        with opened(spec, root, stop) as data:
            if isinstance(data, Stream):
                raise PackFellApart(f"a pack holds its data in memory; these are {data.loading}")
            data = data.placed(self._device.place)  # one copy for all members
            if torch.equal(before, torch.get_rng_state()):
                self._data = data
            yield data


class _Pack:
    def __init__(self, specs: Sequence[JobSpec], device: CpuPacks) -> None:
        self.members = len(specs)
        self.device = device
        self.lockstep = Lockstep(
            self.members, self._perform, device.random_state, device.set_random_state
        )
        self.gain: Optional[float] = None  # measured before the first update, if at all
        self._entered: Dict[int, _Enter] = {}
        self._inside: List[int] = []  # members in the session, in its order
        self._session: Optional[PackSession] = None

    def close(self) -> None:
        """Release the device."""
        if self._session is not None:
            self._session.close()

    def row_of(self, member: int) -> int:
        return self._inside.index(member)

    @property
    def session(self) -> PackSession:
        if self._session is None:
            raise InvalidSpec("the members of a pack have not met yet: enter its session first")
        return self._session

    def _perform(self, calls: Mapping[int, Any]) -> Mapping[int, Any]:
        kinds = {type(call) for call in calls.values()}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__.strip("_").lower() for kind in kinds))
            raise PackFellApart(f"members of a pack are at different places: {names}")
        do: Any = {
            _Enter: self._enter,
            _Settle: self._settle,
            _Train: self._train,
            _Evaluate: self._evaluate,
        }[kinds.pop()]
        with self.device.errors():
            found: Mapping[int, Any] = do(calls)
        return found

    def _enter(self, calls: Mapping[int, _Enter]) -> Mapping[int, Any]:
        self._entered = dict(calls)
        self._inside = sorted(calls)
        self._session = self._made()
        return dict.fromkeys(calls)

    def _settle(self, calls: Mapping[int, _Settle]) -> Mapping[int, Any]:
        inside = [self._entered[member] for member in sorted(calls)]
        first = calls[min(calls)]
        nets, specs = [each.model for each in inside], [each.spec for each in inside]
        self.gain = measured_gain(self.device, nets, specs, first.x, first.y)
        if self.gain < 1:
            raise PackFellApart(
                f"a pack of {len(inside)} was measured here, and is {self.gain:.2f} times as fast "
                "as its members alone"
            )
        return dict.fromkeys(calls)

    def _made(self) -> PackSession:
        inside = [self._entered[member] for member in self._inside]
        return self.device.session([each.model for each in inside], [each.spec for each in inside])

    def _keep(self, members: Sequence[int]) -> None:
        """Continue with fewer members."""
        if list(members) == self._inside:
            return
        before = {member: self.session.state_of(self.row_of(member)) for member in members}
        for member in members:
            self.write_to_model(member)
        self.close()
        self._inside = list(members)
        self._session = self._made()
        for row, member in enumerate(members):
            self._session.load_state_of(row, before[member])

    def write_to_model(self, member: int) -> nn.Module:
        """Copy a member's present weights to its own network."""
        model = self._entered[member].model
        self.session.write_to(self.row_of(member), model)
        return model

    def evaluated(self, member: int) -> nn.Module:
        """Return a member's network for evaluations."""
        averaged = self.session.averaged
        if averaged is None:
            return self.write_to_model(member)
        model = copy.deepcopy(self._entered[member].model).eval()
        averaged.write_to(self.row_of(member), model)
        return model

    def _train(self, calls: Mapping[int, _Train]) -> Mapping[int, StepResult]:
        each = self._prepared(calls)
        x, y = torch.stack([call.x for call in each]), torch.stack([call.y for call in each])
        result = self.session.train(x, y)
        rows = zip(result.losses.unbind(), result.correct.unbind())
        found = [StepResult(loss, correct, result.predictions) for loss, correct in rows]
        return dict(zip(sorted(calls), found))

    def _evaluate(self, calls: Mapping[int, _Evaluate]) -> Mapping[int, StepResult]:
        each = self._prepared(calls)
        x, y = each[0].x, each[0].y
        if not all(_same(x, call.x) for call in each):
            raise PackFellApart("members of a pack have different test sets")
        return dict(zip(sorted(calls), self.session.evaluate(x, y)))

    def _prepared(self, calls: Mapping[int, Any]) -> List[Any]:
        """Continue with the members that called, at their step; list their calls."""
        members = sorted(calls)
        self._keep(members)
        each = [calls[member] for member in members]
        if len({call.progress for call in each}) > 1:
            raise PackFellApart(
                "members of a pack have done different numbers of updates: resume them from "
                "checkpoints of the same step, or train them one by one"
            )
        self.session.prepare([call.learning_rate for call in each], each[0].progress)
        return each


def _same(x: Tensor, other: Tensor) -> bool:
    return x.data_ptr() == other.data_ptr() or torch.equal(x, other)


class _MemberAccelerator:
    """A member's view of the device, whose time is that of all members."""

    def __init__(self, pack: _Pack, member: int) -> None:
        self.kind = pack.device.kind
        self.runtime = pack.device.runtime
        self.timing_valid = pack.device.timing_valid
        self._pack = pack
        self._member = member

    def probe(self) -> Probe:
        """Describe the device, with the number of jobs that share the updates."""
        probe = self._pack.device.probe()
        facts = {**probe.facts, "packed": self._pack.members}
        if self._pack.gain is not None:
            facts["pack_gain"] = round(self._pack.gain, 2)
        return replace(probe, facts=facts)

    @contextmanager
    def session(self, model: nn.Module, spec: JobSpec) -> Iterator[Any]:
        """Train *model* in place, together with the models of the other members."""
        with self._pack.device.errors(), self._pack.device.holding(model):
            self._pack.lockstep.meet(self._member, _Enter(model, spec))
            try:
                yield _MemberSession(self._pack, self._member)
            finally:
                self._pack.write_to_model(self._member)


class _MemberSession:
    """One member's part of a pack's session."""

    def __init__(self, pack: _Pack, member: int) -> None:
        self._pack = pack
        self._member = member
        self._learning_rate = self._progress = 0.0

    def place(self, x: Tensor) -> Tensor:
        """Return *x* on the device from whose memory all members take batches."""
        return self._pack.device.place(x)

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """Use the threads of an earlier attempt, or those of the pack; measure the pack's gain."""
        if recorded is None and self._pack.device.measures:
            self._pack.lockstep.meet(self._member, _Settle(x, y))
        return take_threads(recorded)

    def prepare(self, learning_rate: float, progress: float) -> None:
        """Set the learning rate and progress for the next update."""
        self._learning_rate, self._progress = learning_rate, progress

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """Make one update, together with all members."""
        call = _Train(self._learning_rate, self._progress, x, y)
        result: StepResult = self._pack.lockstep.meet(self._member, call)
        return result

    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x*, together with all members."""
        call = _Evaluate(self._learning_rate, self._progress, x, y)
        result: StepResult = self._pack.lockstep.meet(self._member, call)
        return result

    def inspect(self) -> nn.Module:
        """Return this member's network with its present weights."""
        return self._pack.write_to_model(self._member)

    def evaluated(self) -> nn.Module:
        """Return this member's network, or a copy with its averaged weights."""
        return self._pack.evaluated(self._member)

    def weights(self) -> Dict[str, Tensor]:
        """Copy the parameters and buffers that evaluations use."""
        return {n: t.detach().cpu().clone() for n, t in self.evaluated().state_dict().items()}

    def state_dict(self) -> Dict[str, Any]:
        """Copy the state, as from a session of this job alone."""
        return self._pack.session.state_of(self._pack.row_of(self._member))

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from a state of this job, saved alone or in a pack."""
        self._pack.session.load_state_of(self._pack.row_of(self._member), state)

    def memory_peak_bytes(self) -> Optional[int]:
        """Return the peak memory of all members."""
        return self._pack.device.memory_peak_bytes()
