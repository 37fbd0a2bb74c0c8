"""A pack in which each member keeps its own parameters, as some optimizers require."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.training.packs.network import MemberTensors, PackedNetwork
from normlab.training.packs.per_member import join


class _Joint(NamedTuple):
    layer: nn.Module
    name: str  # of the parameter in it
    number: int  # in the parameters that each member has of its own
    members: slice  # that it joins


class JoiningModule(nn.Module):
    """
    Join the parameters of the members for each forward, so that each member learns its own.

    Args:
        wide: the network of all members, whose joined parameters become the members' own.
        blocks: the parameters of *wide*.
        members: the number of members.
    """

    def __init__(self, wide: nn.Module, blocks: Sequence[MemberTensors], members: int) -> None:
        super().__init__()
        self.wide = wide
        places = {id(p): place for place, p in _places(wide)}
        joint = [block for block in blocks if len(block.tensors) < members]
        owned = [[nn.Parameter(x.clone()) for x in block.of_members()] for block in joint]
        self.own = nn.ModuleList(nn.ParameterList(list(own)) for own in zip(*owned))
        self._joint = [
            _Joint(*places[id(tensor)], i, members)
            for i, block in enumerate(joint)
            for tensor, members in block.spans()
        ]
        self.owners = {block.name: i for i, block in enumerate(joint)}
        self._forget()

    def of_members(self, number: int) -> List[nn.Parameter]:
        """Return the members' parts of parameter *number*."""
        return [own[number] for own in self.own]  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S * C, ...) to (N, S * K, ...)."""
        for layer, name, number, members in self._joint:
            joined = join(self.of_members(number)[members])
            layer._parameters[name] = joined  # type: ignore[assignment]
        try:
            y: Tensor = self.wide(x)
        finally:
            self._forget()
        return y

    def _forget(self) -> None:
        # a tensor of a graph can neither be copied nor be a parameter
        for layer, name, *_ in self._joint:
            layer._parameters[name] = None


class ApartNetwork(PackedNetwork):
    """
    The networks of S members as one wide network, with separate parameters in place of joined ones.

    Args:
        nets: the networks of the members.

    Raises:
        InvalidSpec: a layer has no packed form.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__(nets)
        joining = JoiningModule(self.module, self.parameters, self.members)
        self.module = joining
        for name, number in joining.owners.items():
            self._tensors[name] = list(joining.of_members(number))
        self.parameters = [self._block(block.name) for block in self.parameters]
        self.states = [self._block(block.name) for block in self.states]

    def of_member(self, member: int) -> Dict[str, Tensor]:
        """Return one member's parameters by their names in its own network."""
        return {block.name: block.tensors[member] for block in self.parameters}


def _places(wide: nn.Module) -> List[Tuple[Tuple[nn.Module, str], torch.Tensor]]:
    found: List[Tuple[Tuple[nn.Module, str], Any]] = []
    for layer in wide.modules():
        found += [((layer, name), p) for name, p in layer._parameters.items() if p is not None]
    return found
