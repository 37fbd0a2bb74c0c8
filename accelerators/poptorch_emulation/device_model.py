"""The device's copy of the model: its own weights, and buffers for each replica."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

import torch
from torch import Tensor, nn

from accelerators.poptorch_emulation.wrapping import unwrapped_copy

Slot = Tuple[nn.Module, str]
_SCALARS = (bool, int, float, str, type(None))


class DeviceModel:
    """A copy of the user's module; state that the program may not keep is reset after each run."""

    def __init__(self, model: nn.Module, modes: List[bool], replicas: int) -> None:
        self.module = unwrapped_copy(model)
        for module, mode in zip(self.module.modules(), modes):
            module.training = mode  # as it was when the program was made
        for p in self.module.parameters():
            p.grad = None
        self._slots: List[Slot] = [
            (module, name)
            for module in self.module.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        kept = list(self._buffers_of(self.module))
        self._replicas: List[List[Tensor]] = [kept]
        self._replicas += [[b.clone() for b in kept] for _ in range(replicas - 1)]
        self._active = 0
        self._constants = self._integer_buffers()
        self._attributes = [(m, _plain(m)) for m in self.module.modules()]

    def select(self, replica: int) -> None:
        """Make the module compute with the buffers of *replica*."""
        if replica == self._active:
            return
        for (module, name), buffer in zip(self._slots, self._replicas[replica]):
            module._buffers[name] = buffer
        self._active = replica

    def restore_constants(self) -> None:
        """Reset the state that a device does not keep: integer buffers and plain attributes."""
        for buffer, value in self._constants:
            buffer.copy_(value)
        for module, attributes in self._attributes:
            now = module.__dict__
            for name, (value, content) in attributes.items():
                now[name] = value
                if content is not None:
                    value.copy_(content)

    @torch.no_grad()
    def load(self, model: nn.Module) -> None:
        """Copy the weights of the user's *model* in, its buffers to every replica."""
        for weight, new in zip(self.module.parameters(), model.parameters()):
            weight.copy_(new)
        for number, buffer in enumerate(self._buffers_of(model)):
            for replica in self._replicas:
                replica[number].copy_(buffer)
        self._constants = self._integer_buffers()

    @torch.no_grad()
    def store(self, model: nn.Module) -> None:
        """Copy the weights out to the user's *model*, and the first replica's buffers."""
        for weight, theirs in zip(self.module.parameters(), model.parameters()):
            theirs.copy_(weight)
        for buffer, copied in zip(self._replicas[0], self._buffers_of(model)):
            copied.copy_(buffer)

    def _integer_buffers(self) -> List[Tuple[Tensor, Tensor]]:
        every = [b for replica in self._replicas for b in replica]
        return [(b, b.clone()) for b in every if not b.is_floating_point()]

    @staticmethod
    def _buffers_of(model: nn.Module) -> Iterator[Tensor]:
        for module in model.modules():
            yield from (b for b in module._buffers.values() if b is not None)


def _plain(module: nn.Module) -> Dict[str, Tuple[Any, Any]]:
    # Numbers and tensors that are not buffers: a compiled program holds them as constants.
    found: Dict[str, Tuple[Any, Any]] = {}
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            found[name] = (value, None if value.requires_grad else value.clone())
        elif isinstance(value, _SCALARS):
            found[name] = (value, None)
    return found
