"""A pack on a device: one update of all its members."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from normlab import norms
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import StepResult
from normlab.training.packs.convolutions import PackedConv2d
from normlab.training.packs.joint_optimizer import JointOptimizer, learn_alike
from normlab.training.packs.losses import Losses
from normlab.training.packs.network import PackedNetwork
from normlab.training.packs.updates import Updates
from normlab.training.scoring import Scorer, reduced_precision
from normlab.training.weight_average import weight_average


class PackResult(NamedTuple):
    """
    The results of an update, still on the device.

    Args:
        losses: mean loss of each member, (S,).
        correct: the number of correct predictions of each, (S,).
        predictions: the number of predictions of one member.
    """

    losses: Tensor
    correct: Tensor
    predictions: int


class PackSession:
    """
    The members of a pack on a device, with their optimizers.

    Args:
        nets: the networks of the members, built from *specs* and on the device; they keep their
            weights.
        specs: the jobs of the members; see `specs.packs` for the fields that may differ.

    Attributes:
        network: the network that is trained.
        averaged: the network with averaged weights, which evaluations use; None if they use
            *network*.

    Raises:
        InvalidSpec: a layer or the optimizer has no packed form.
    """

    def __init__(self, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> None:
        self.network = PackedNetwork(nets)
        self.specs = specs
        self._dtype = reduced_precision(specs[0])
        self._device = self.network.parameters[0].tensors[0].device
        on_host = self._device.type == "cpu"
        for layer in self.network.module.modules():
            if isinstance(layer, PackedConv2d):
                layer.by_products = on_host and self._dtype is None
        self._updates: Union[JointOptimizer, Updates]
        if on_host and learn_alike(nets, specs):
            self._updates = JointOptimizer(self.network, nets, specs)
        else:
            self._updates = Updates(self.network, nets, specs)
        self._normalizers = norms.activation_norms(self.network.module)
        self._average = weight_average(self.network.module, specs[0])
        self.averaged: Optional[PackedNetwork] = None
        if self._average is not None:
            self.averaged = PackedNetwork(nets, self._average.model)
            self._normalizers += norms.activation_norms(self._average.model)
        self._progress = 0.0
        self._losses = Losses(specs)
        self._scorers = [Scorer(spec) for spec in specs]

    def prepare(self, learning_rates: Sequence[float], progress: float) -> None:
        """Set the members' rates for the next update; *progress* is the finished share, 0 to 1."""
        self._updates.prepare(learning_rates)
        for layer in self._normalizers:
            layer.set_progress(progress)
        self._progress = progress

    def train(self, x: Tensor, y: Tensor) -> PackResult:
        """
        Make one update of each member.

        Args:
            x: samples of the members, (S, samples per update, C, ...).
            y: their classes, (S, samples per update, ...).
        """
        self._switch(training=True)
        self._updates.count()
        losses, correct = self._update(x, y)
        if self._average is not None:
            self._average.follow(self._progress)
        return PackResult(losses, correct, self._losses.predictions(y[0]))

    def _update(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        """Change the weights; this is the part of an update that can be recorded."""
        self._updates.forget_gradients()
        size, parts = self.specs[0].batch_size, self.specs[0].gradient_accumulation
        losses, correct = self._backward(x[:, :size], y[:, :size])
        for i in range(1, parts):
            part = slice(i * size, (i + 1) * size)
            more, hits = self._backward(x[:, part], y[:, part])
            losses, correct = losses + more, correct + hits
        self._updates.step()
        return losses, correct

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> List[StepResult]:
        """Compute each member's loss of *x*, (N, C, ...), in evaluation mode; change nothing."""
        if self.averaged is None:
            self._switch(training=False)
        network = self.averaged or self.network
        outputs = self._forward(network, x.expand(len(self.specs), *x.shape))
        return [score(output, y) for score, output in zip(self._scorers, outputs)]

    def state_of(self, member: int) -> Dict[str, Any]:
        """Return a copy of one member's state, in the form of a session of that job alone."""
        state = {
            "model": self.network.state_of(member),
            "optimizer": self._updates.state_of(member),
        }
        if self._average is not None and self.averaged is not None:
            updates = self._average.state_dict()["updates"]
            state["average"] = {"model": self.averaged.state_of(member), "updates": updates}
        return state

    def load_state_of(self, member: int, state: Dict[str, Any]) -> None:
        """Load one member's state, from a job alone or a pack, after the same number of updates."""
        self.network.load_state_of(member, state["model"])
        self._updates.load_state_of(member, state["optimizer"])
        if self._average is not None and self.averaged is not None:
            self.averaged.load_state_of(member, state["average"]["model"])
            whole = dict(self._average.model.state_dict())  # the existing tensors
            self._average.load_state_dict({"model": whole, "updates": state["average"]["updates"]})

    def write_to(self, member: int, net: nn.Module) -> None:
        """Give one member's own network its current weights."""
        self.network.write_to(member, net)

    def close(self) -> None:
        """Release what the device holds besides memory."""

    def _switch(self, training: bool) -> None:
        if self.network.module.training != training:
            self.network.module.train(training)

    def _backward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        losses, correct = self._losses(self._forward(self.network, x), y)
        losses = losses / self.specs[0].gradient_accumulation
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach(), correct

    def _forward(self, network: PackedNetwork, x: Tensor) -> Tensor:
        if self._dtype is None:
            return network(x)
        with torch.autocast(self._device.type, dtype=self._dtype):
            return network(x)
