"""The optimizer of members with equal numbers: that of one job, over the parameters of all."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import PackFellApart
from normlab.norms import clipped_together
from normlab.specs.jobs import JobSpec
from normlab.training.optimizers import make_optimizer, optimizer_over, parameter_groups
from normlab.training.packs.network import MemberTensors, PackedNetwork
from normlab.training.packs.update_rules import RULES

_LIMITS = ("clip_norm", "clip_ratio", "clip_value")
_NUMBER = "step"  # torch's own name for the number of updates, which is the same for all


def learn_alike(nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> bool:
    """Return whether an update treats each weight of all members in the same way, by itself."""
    first = specs[0]
    if type(first.optimizer) not in RULES or clipped_together(nets[0]):
        return False
    if any(getattr(first.optimizer, limit) is not None for limit in _LIMITS):
        return False
    numbers = [(s.optimizer, s.schedule, s.samples_per_update) for s in specs]
    if any(of_member != numbers[0] for of_member in numbers):
        return False
    of_first = _hints(nets[0], first)  # hints may depend on a normalizer's numbers
    return all(_hints(net, spec) == of_first for net, spec in zip(nets, specs))


class JointOptimizer:
    """
    The job's optimizer on a host over the joined parameters, for members for which `learn_alike`.

    An update of all members is one call, without a copy of weights or gradients.

    Args:
        network: the network whose parameters are updated.
        nets: the networks of the members.
        specs: the jobs of the members.
    """

    def __init__(
        self, network: PackedNetwork, nets: Sequence[nn.Module], specs: Sequence[JobSpec]
    ) -> None:
        self._blocks = {block.name: block for block in network.parameters}
        self._nets, self._specs = nets, specs
        names = {id(p): name for name, p in nets[0].named_parameters()}
        groups = parameter_groups(nets[0], specs[0])
        for group in groups:
            blocks = [self._blocks[names[id(p)]] for p in group["params"]]
            group["params"] = [tensor for block in blocks for tensor in block.tensors]
        self._optimizer = optimizer_over(groups, specs[0])
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]

    def prepare(self, rates: Sequence[float]) -> None:
        """
        Set the rate of the next update.

        Raises:
            PackFellApart: the members have different ones.
        """
        if len(set(rates)) > 1:
            raise PackFellApart("members with equal optimizers and schedules got different rates")
        for group in self._optimizer.param_groups:
            group["lr"] = rates[0] * group["lr_factor"]

    def count(self) -> None:
        """Begin the next update; the optimizer counts by itself."""

    def step(self) -> None:
        """Change the weights by the existing gradients."""
        self._optimizer.step()

    def forget_gradients(self) -> None:
        """Drop the gradients of the previous update."""
        for parameter in self._parameters:
            parameter.grad = None

    def state_of(self, member: int) -> Dict[str, Any]:
        """Return the state of one member's optimizer in torch's form."""
        own = make_optimizer(self._nets[member], self._specs[member])
        for name, parameter in self._nets[member].named_parameters():
            tensor, number = self._blocks[name].place(member)
            state = self._optimizer.state.get(tensor, {})
            if state:
                own.state[parameter] = {
                    key: _part(key, value, self._blocks[name], number).clone()
                    if isinstance(value, Tensor)
                    else value  # in torch 2.0, the number of updates of rmsprop
                    for key, value in state.items()
                    if value is not None  # a momentum of 0 in older versions of torch
                }
        return own.state_dict()

    @torch.no_grad()
    def load_state_of(self, member: int, state: Dict[str, Any]) -> None:
        """Load the state of one member's optimizer, in torch's form."""
        own = make_optimizer(self._nets[member], self._specs[member])
        own.load_state_dict(state)
        for name, parameter in self._nets[member].named_parameters():
            tensor, number = self._blocks[name].place(member)
            there = self._optimizer.state[tensor]
            found = own.state.get(parameter, {})
            for key in there.keys() - found.keys() - {_NUMBER}:
                if there[key] is not None:  # a momentum of 0 in older versions of torch
                    _part(key, there[key], self._blocks[name], number).zero_()
            for key, value in found.items():
                if not isinstance(value, Tensor):
                    there.update({} if value is None else {key: value})
                    continue
                if key not in there:
                    there[key] = torch.zeros_like(value if key == _NUMBER else tensor)
                _part(key, there[key], self._blocks[name], number).copy_(value)


def _part(key: str, value: Tensor, block: MemberTensors, number: int) -> Tensor:
    """Return a member's part of a state: its rows, or a value that all members share."""
    return value if key == _NUMBER else block.rows(value)[number]


def _hints(net: nn.Module, spec: JobSpec) -> Mapping[str, Tuple[float, float]]:
    names = {id(p): name for name, p in net.named_parameters()}
    return {
        names[id(p)]: (group["weight_decay"], group["lr_factor"])
        for group in parameter_groups(net, spec)
        for p in group["params"]
    }
