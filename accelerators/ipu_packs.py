"""Packs on the emulation of PopTorch: one program with the parameters of all members."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence

from torch import Tensor, nn

from accelerators.cpu_packs import CpuPacks
from accelerators.ipu import IpuAccelerator, open_device
from accelerators.ipu_errors import translated
from accelerators.ipu_pack_optimizer import MemberOptimizers
from accelerators.ipu_session import (
    common_options,
    destroy,
    filled,
    hand_over,
    holds_device,
    training_options,
)
from normlab import norms
from normlab.errors import UnsupportedModel
from normlab.ipu_check.jobs import training_example
from normlab.ipu_check.trace import check_model
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe, StepResult
from normlab.training.packs.apart import ApartNetwork
from normlab.training.packs.losses import Losses
from normlab.training.packs.per_member import apart, together
from normlab.training.packs.session import PackResult
from normlab.training.scoring import Scorer


def open_packs(spec: JobSpec, threads: Optional[int] = None) -> IpuPacks:
    """Open the runtime that *spec* names, for packs of such jobs."""
    return IpuPacks(spec, threads)


class IpuPacks(CpuPacks):
    """
    An emulated IPU for a pack.

    Args:
        spec: the spec of a member.
        threads: the threads for the operators, which run on the host.
    """

    kind = "ipu"

    def __init__(self, spec: JobSpec, threads: Optional[int] = None) -> None:
        super().__init__(spec, threads)
        self._device: IpuAccelerator = open_device(spec, self.threads)
        self.runtime = self._device.runtime

    def probe(self) -> Probe:
        """Describe the runtime."""
        return self._device.probe()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the errors of torch and of the library."""
        with super().errors(), translated(self._device.library):
            yield

    def session(self, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> Any:
        """Train *nets* as one program."""
        return IpuPackSession(self._device.library, nets, specs)

    def memory_peak_bytes(self) -> Optional[int]:
        """Return None, as for a single job."""
        return None


class PackProgram(nn.Module):
    """The networks of all members with their losses inside, as a compiled program requires."""

    def __init__(self, library: Any, network: ApartNetwork, losses: Losses) -> None:
        super().__init__()
        self.model = network.module
        self._members = network.members
        self._losses = losses
        self._identity_loss = library.identity_loss

    def forward(self, x: Tensor, y: Optional[Tensor] = None) -> Any:
        """
        Return the members' correct predictions and losses, (S,), and the sum of the losses.

        Without *y*, return the outputs.

        Shape:
            (N, S * C, ...) and (N, S, ...) -> (S,), (S,), (); without classes (N, S * K, ...)
        """
        outputs = self.model(x)
        if y is None:
            return outputs
        losses, hits = self._losses(apart(outputs, self._members), y.transpose(0, 1))
        # a member's parameters affect only its own loss
        return hits, losses.detach(), self._identity_loss(losses.sum(), reduction="none")


class IpuPackSession:
    """
    The members of a pack as one program, with PopTorch's optimizer and its groups for each member.

    Args:
        library: the emulation of `poptorch`.
        nets: the members' networks, on the host.
        specs: the members' specs.

    Raises:
        UnsupportedModel: the wide network does not pass the op check.
    """

    averaged = None  # a program keeps no average of its weights

    def __init__(self, library: Any, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> None:
        self._library, self._specs = library, specs
        self.network = ApartNetwork(nets)
        norms.plain_operators(self.network.module)
        _refuse(self.network, specs)
        self._losses = Losses(specs)
        self._scorers = [Scorer(spec) for spec in specs]
        self._program = PackProgram(library, self.network, self._losses)
        self._optimizer = MemberOptimizers(library, self.network, nets, specs)
        self._trainer = library.trainingModel(
            self._program.train(), training_options(library, specs[0]), self._optimizer.joined
        )
        self._evaluator: Any = None  # compiled for its first batch
        self._rows = 0  # samples of that batch

    def prepare(self, learning_rates: Sequence[float], progress: float) -> None:
        """Send changed rates; *progress* cannot reach a compiled program."""
        if self._optimizer.take_rates(learning_rates):
            self._trainer.setOptimizer(self._optimizer.joined)

    def train(self, x: Tensor, y: Tensor) -> PackResult:
        """Make one update of each member, from (S, samples per update, ...)."""
        hand_over(self._evaluator, self._trainer)
        hits, losses, _ = self._trainer(together(x), y.transpose(0, 1).contiguous())
        parts = self._specs[0].gradient_accumulation
        return PackResult(losses / parts, hits, self._losses.predictions(y[0]))

    def evaluate(self, x: Tensor, y: Tensor) -> List[StepResult]:
        """Compute each member's loss of *x*, (N, C, ...), in evaluation mode."""
        if self._evaluator is None:
            self._evaluator, self._rows = self._make_evaluator(), len(x)
        hand_over(self._trainer, self._evaluator)
        members, whole = len(self._specs), filled(x, self._rows)
        outputs = self._evaluator(together(whole.expand(members, *whole.shape)))
        each = zip(self._scorers, apart(outputs, members))
        return [score(output[: len(x)], y) for score, output in each]

    def write_to(self, member: int, net: nn.Module) -> None:
        """Copy one member's present weights to its own network."""
        self._fetch()
        self.network.write_to(member, net)

    def state_of(self, member: int) -> Dict[str, Any]:
        """Fetch one member's state, as from a session of that job alone."""
        hand_over(self._evaluator, self._trainer)  # only the program has the optimizer's state
        self._fetch()
        return {
            "model": self.network.state_of(member),
            "optimizer": self._optimizer.state_of(member),
        }

    def load_state_of(self, member: int, state: Dict[str, Any]) -> None:
        """Load one member's state, saved alone or in a pack, after the same number of updates."""
        self._fetch()
        self.network.load_state_of(member, state["model"])
        self._optimizer.load_state_of(member, state["optimizer"])
        if holds_device(self._trainer):
            self._trainer.copyWeightsToDevice()

    def close(self) -> None:
        """Release the device."""
        destroy(self._evaluator, self._trainer)

    def _fetch(self) -> None:
        if holds_device(self._trainer):  # otherwise weights were copied at detaching
            self._trainer.copyWeightsToHost()

    def _make_evaluator(self) -> Any:
        self._program.eval()
        options = common_options(self._library, self._specs[0])
        evaluator = self._library.inferenceModel(self._program, options)
        self._program.train()
        return evaluator


def _refuse(network: ApartNetwork, specs: Sequence[JobSpec]) -> None:
    """
    Check the operators of a pack on tensors without data.

    Raises:
        UnsupportedModel: an IPU does not support one of them.
    """
    members, losses = len(specs), Losses(specs)
    x, y = (
        part.expand(members, *part.shape)
        for part in training_example(specs[0], specs[0].batch_size)
    )

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return losses(apart(outputs, members), y.transpose(0, 1))[0].sum()

    model = copy.deepcopy(network.module).to("meta")
    verdict = check_model(model, loss, together(x), y.transpose(0, 1))
    if not verdict.passes:
        raise UnsupportedModel(f"as a pack, {verdict.message}; such jobs train one by one")
