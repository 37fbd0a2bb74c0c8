"""The network of a pack, and the places of each member's tensors in it."""

from __future__ import annotations

from itertools import accumulate
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.training.packs.packing import pack
from normlab.training.packs.per_member import PerMember, apart, together


class MemberTensors(NamedTuple):
    """A tensor of each member, in one tensor of the pack, or in several for some members each."""

    name: str  # the name in a member's network
    tensors: Sequence[Tensor]
    shape: torch.Size  # the shape of one member's tensor

    def of_members(self) -> List[Tensor]:
        """Return views of the members' tensors, without a graph."""
        return [row for tensor in self.tensors for row in self.rows(tensor.detach())]

    def rows(self, tensor: Tensor) -> Tensor:
        """View one of the tensors, or a tensor of its shape, member by member: (M, ...)."""
        return tensor.view(-1, *self.shape)

    def spans(self) -> List[Tuple[Tensor, slice]]:
        """Return the tensors, and the members in each."""
        ends = [0, *accumulate(len(self.rows(tensor)) for tensor in self.tensors)]
        return [(tensor, slice(*span)) for tensor, span in zip(self.tensors, zip(ends, ends[1:]))]

    def place(self, member: int) -> Tuple[Tensor, int]:
        """Return the tensor that contains a member's tensor, and the member's row in it."""
        return next((x, member - span.start) for x, span in self.spans() if member < span.stop)


class PackedNetwork:
    """
    The networks of S members as one wide network.

    Args:
        nets: the networks of the members, built from specs that may differ in seeds and numbers.
        module: the wide network, such as a copy of another one; None makes it from *nets*.

    Attributes:
        module: the wide network; it maps (N, S * C, ...) to (N, S * K, ...).

    Raises:
        InvalidSpec: a layer has no packed form.
    """

    def __init__(self, nets: Sequence[nn.Module], module: Optional[nn.Module] = None) -> None:
        self.members = len(nets)
        self.module = pack(nets) if module is None else module
        self._shapes = _shapes(nets[0])
        self._tensors = dict(_tensors(self.module))
        # in the order of a member's own parameters, whose numbers the states of optimizers use
        self.parameters = [self._block(name) for name, _ in nets[0].named_parameters()]
        self.states = [self._block(name) for name in nets[0].state_dict()]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs of the members, (S, N, K, ...), for their inputs, (S, N, C, ...)."""
        return apart(self.module(together(x)), self.members)

    def state_of(self, member: int) -> Dict[str, Tensor]:
        """Return a copy of the state of one member's network, in the form of its `state_dict`."""
        return {block.name: block.of_members()[member].clone() for block in self.states}

    @torch.no_grad()
    def load_state_of(self, member: int, state: Dict[str, Tensor]) -> None:
        """Load the state of one member's network from its own `state_dict`."""
        for block in self.states:
            block.of_members()[member].copy_(state[block.name])

    @torch.no_grad()
    def write_to(self, member: int, net: nn.Module) -> None:
        """Give one member's network its tensors, including those that are in no state."""
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            tensor.copy_(self._block(name).of_members()[member])

    def _block(self, name: str) -> MemberTensors:
        return MemberTensors(name, self._tensors[name], self._shapes[name])


def _shapes(net: nn.Module) -> Dict[str, torch.Size]:
    # a parameter that layers share has several names
    parameters = net.named_parameters(remove_duplicate=False)
    return {name: tensor.shape for name, tensor in (*parameters, *net.named_buffers())}


def _tensors(module: nn.Module, path: str = "") -> Iterator[Tuple[str, List[Tensor]]]:
    """Name the tensors of the pack as in a member, with one for each layer where layers differ."""
    if isinstance(module, PerMember):
        own = [dict(_tensors(layer, path)) for layer in module.layers]
        for name in own[0]:
            yield name, [tensor for of_layer in own for tensor in of_layer[name]]
        return
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            yield f"{path}{name}", [tensor]
    for name, child in module._modules.items():
        if child is not None:
            yield from _tensors(child, f"{path}{name}.")
