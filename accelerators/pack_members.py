"""A member of a pack: how its training sees the device that it shares with the others."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Dict, Iterator, Optional

from torch import Tensor, nn

from accelerators.joint_session import Enter, Evaluate, JointSession, Settle, Train
from accelerators.thread_choice import take_threads
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe, StepResult


class MemberAccelerator:
    """A member's view of the device, whose time is that of all members."""

    def __init__(self, pack: JointSession, member: int) -> None:
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
            self._pack.lockstep.meet(self._member, Enter(model, spec))
            try:
                yield MemberSession(self._pack, self._member)
            finally:
                self._pack.write_to_model(self._member)


class MemberSession:
    """One member's part of a pack's session."""

    def __init__(self, pack: JointSession, member: int) -> None:
        self._pack = pack
        self._member = member
        self._learning_rate = self._progress = 0.0

    def place(self, x: Tensor) -> Tensor:
        """Return *x* on the device from whose memory all members take batches."""
        return self._pack.device.place(x)

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """Use the threads of an earlier attempt, or those of the pack; measure the pack's gain."""
        if recorded is None and self._pack.device.measures:
            self._pack.lockstep.meet(self._member, Settle(x, y))
        return take_threads(recorded)

    def prepare(self, learning_rate: float, progress: float) -> None:
        """Set the learning rate and progress for the next update."""
        self._learning_rate, self._progress = learning_rate, progress

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """Make one update, together with all members."""
        call = Train(self._learning_rate, self._progress, x, y)
        result: StepResult = self._pack.lockstep.meet(self._member, call)
        return result

    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x*, together with all members."""
        call = Evaluate(self._learning_rate, self._progress, x, y)
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
