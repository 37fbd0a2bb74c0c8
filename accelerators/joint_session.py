"""What the members of a pack do together: enter the session, train and evaluate."""

from __future__ import annotations

import copy
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from accelerators.cpu_packs import CpuPacks
from accelerators.lockstep import Lockstep
from accelerators.pack_gain import measured_gain
from normlab.errors import InvalidSpec, PackFellApart
from normlab.specs.jobs import JobSpec
from normlab.specs.packs import order_of_rows
from normlab.training.accelerator import StepResult
from normlab.training.packs.session import PackSession


class Enter(NamedTuple):
    """A member is ready to train its model."""

    model: nn.Module
    spec: JobSpec


class Settle(NamedTuple):
    """A member asks for the pack's gain, which is measured with samples of the first one."""

    x: Tensor
    y: Tensor


class Train(NamedTuple):
    """A member asks for an update with its batch."""

    learning_rate: float
    progress: float
    x: Tensor
    y: Tensor


class Evaluate(NamedTuple):
    """A member asks for the loss of its samples."""

    learning_rate: float
    progress: float
    x: Tensor
    y: Tensor


class JointSession:
    """The session that all members share, with those of them that are still inside."""

    def __init__(self, specs: Sequence[JobSpec], device: CpuPacks) -> None:
        self.members = len(specs)
        self.device = device
        self.lockstep = Lockstep(
            self.members, self._perform, device.random_state, device.set_random_state
        )
        self.gain: Optional[float] = None  # measured before the first update, if at all
        self._entered: Dict[int, Enter] = {}
        self._inside: List[int] = []  # members in the session, in its order
        self._session: Optional[PackSession] = None

    def close(self) -> None:
        """Release the device."""
        if self._session is not None:
            self._session.close()

    def row_of(self, member: int) -> int:
        """Return the place of *member* in the session."""
        return self._inside.index(member)

    @property
    def session(self) -> PackSession:
        """The session of those who are inside."""
        if self._session is None:
            raise InvalidSpec("the members of a pack have not met yet: enter its session first")
        return self._session

    def _perform(self, calls: Mapping[int, Any]) -> Mapping[int, Any]:
        kinds = {type(call) for call in calls.values()}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__.lower() for kind in kinds))
            raise PackFellApart(f"members of a pack are at different places: {names}")
        do: Any = {
            Enter: self._enter,
            Settle: self._settle,
            Train: self._train,
            Evaluate: self._evaluate,
        }[kinds.pop()]
        with self.device.errors():
            found: Mapping[int, Any] = do(calls)
        return found

    def _enter(self, calls: Mapping[int, Enter]) -> Mapping[int, Any]:
        self._entered = dict(calls)
        self._inside = self._rows(calls)
        self._session = self._made()
        return dict.fromkeys(calls)

    def _settle(self, calls: Mapping[int, Settle]) -> Mapping[int, Any]:
        inside = [self._entered[member] for member in self._rows(calls)]
        first = calls[min(calls)]
        nets, specs = [each.model for each in inside], [each.spec for each in inside]
        self.gain = measured_gain(self.device, nets, specs, first.x, first.y)
        if self.gain < 1:
            raise PackFellApart(
                f"a pack of {len(inside)} was measured here, and is {self.gain:.2f} times as fast "
                "as its members alone"
            )
        return dict.fromkeys(calls)

    def _rows(self, members: Iterable[int]) -> List[int]:
        """Return the members in the order of the session."""
        listed = sorted(members)
        order = order_of_rows([self._entered[member].spec for member in listed])
        return [listed[place] for place in order]

    def _made(self) -> PackSession:
        inside = [self._entered[member] for member in self._inside]
        return self.device.session([each.model for each in inside], [each.spec for each in inside])

    def _keep(self, members: Iterable[int]) -> None:
        """Continue with fewer members."""
        members = self._rows(members)
        if members == self._inside:
            return
        before = {member: self.session.state_of(self.row_of(member)) for member in members}
        for member in members:
            self.write_to_model(member)
        self.close()
        self._inside = members
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

    def _train(self, calls: Mapping[int, Train]) -> Mapping[int, StepResult]:
        each = self._prepared(calls)
        x, y = torch.stack([call.x for call in each]), torch.stack([call.y for call in each])
        result = self.session.train(x, y)
        rows = zip(result.losses.unbind(), result.correct.unbind())
        found = [StepResult(loss, correct, result.predictions) for loss, correct in rows]
        return dict(zip(self._inside, found))

    def _evaluate(self, calls: Mapping[int, Evaluate]) -> Mapping[int, StepResult]:
        each = self._prepared(calls)
        x, y = each[0].x, each[0].y
        if not all(_same(x, call.x) for call in each):
            raise PackFellApart("members of a pack have different test sets")
        return dict(zip(self._inside, self.session.evaluate(x, y)))

    def _prepared(self, calls: Mapping[int, Any]) -> List[Any]:
        """Continue with the members that called, at their step; list their calls by row."""
        self._keep(calls)
        each = [calls[member] for member in self._inside]
        if len({call.progress for call in each}) > 1:
            raise PackFellApart(
                "members of a pack have done different numbers of updates: resume them from "
                "checkpoints of the same step, or train them one by one"
            )
        self.session.prepare([call.learning_rate for call in each], each[0].progress)
        return each


def _same(x: Tensor, other: Tensor) -> bool:
    return x.data_ptr() == other.data_ptr() or torch.equal(x, other)
