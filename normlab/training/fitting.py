"""Copy the tensors of a file into a network, and note which are copied, new or left over."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

import torch
from torch import Tensor, nn


class Fitting:
    """
    The tensors of a file, on their way into a network.

    Args:
        model: the model whose parameters and buffers are overwritten in place.
        tensors: the tensors of the file, by name.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        self.model = model
        self.tensors = tensors
        self.entries: Dict[str, Tensor] = dict(model.state_dict(keep_vars=True))
        self.carried: List[str] = []
        self._loaded: List[str] = []
        self._settled: Set[str] = set()  # names of the network that are done
        self._used: Set[str] = set()  # names of the file that were used
        self._left: List[str] = []  # and those that may be left over
        self._filled: Set[int] = set()  # tied tensors have several names

    def ours(self, place: str) -> List[str]:
        """List the network's names below *place*."""
        return [name for name in self.entries if name.startswith(f"{place}.")]

    def theirs(self, place: str) -> List[str]:
        """List the file's names below *place*."""
        return [name for name in self.tensors if name.startswith(f"{place}.")]

    def fits(self, ours: str, theirs: str) -> bool:
        """Return whether both are there, and have the same shape."""
        there = ours in self.entries and theirs in self.tensors
        return there and self.entries[ours].shape == self.tensors[theirs].shape

    @torch.no_grad()
    def carry(self, ours: str, theirs: str) -> None:
        """Copy the tensor *theirs* of a normalizer to *ours*, of another kind."""
        self.entries[ours].copy_(self.tensors[theirs])
        self.note_carried(ours, [theirs])

    def note_carried(self, ours: str, theirs: Iterable[str]) -> None:
        """Note that *ours* was set from *theirs*."""
        self._filled.add(id(self.entries[ours]))
        self._used.update(theirs)
        self.carried.append(ours)

    def leave(self, place: str) -> None:
        """Count everything below *place* that has not been copied as new or left over."""
        self._settled.update(self.ours(place))
        left = [name for name in self.theirs(place) if name not in self._used]
        self._used.update(left)
        self._left += left

    def load_rest(self, missing: Sequence[str], unused: Sequence[str]) -> List[str]:
        """
        Copy everything else by name; return the problems.

        Args:
            missing: patterns of names that may stay new.
            unused: patterns of names in the file that may be left over.
        """
        problems = []
        for name in [name for name in self.entries if name not in self._settled]:
            if self.fits(name, name):
                self._copy(name)
            elif matches(name, missing):
                self._left += [name] if name in self.tensors else []
            else:
                problems.append(self._misfit(name))
            self._used.add(name)
        rest = sorted((name for name in self.tensors if name not in self._used), key=_in_order)
        self._left += [name for name in rest if matches(name, unused)]
        problems += [self._superfluous(name) for name in rest if not matches(name, unused)]
        return problems

    def told(self) -> Dict[str, Any]:
        """Return a record of what happened with each tensor."""
        copied = {*self._loaded, *self.carried}
        new = [
            name
            for name, tensor in self.entries.items()
            if name not in copied and id(tensor) not in self._filled
        ]
        return {
            "loaded": len(self._loaded),
            "carried": self.carried,
            "new": new,
            "unused": sorted(self._left, key=_in_order),
        }

    @torch.no_grad()
    def _copy(self, name: str) -> None:
        self.entries[name].copy_(self.tensors[name])
        self._filled.add(id(self.entries[name]))
        self._loaded.append(name)

    def _misfit(self, name: str) -> str:
        here = _shape(self.entries[name])
        if name in self.tensors:
            return f"{name} is {_shape(self.tensors[name])} in the file and {here} here"
        return f"{name} {here} is not in the file"

    def _superfluous(self, name: str) -> str:
        return f"{name} {_shape(self.tensors[name])} is in the file and not in the network"


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of *patterns* describes *name*; `*` stands for any characters."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _in_order(name: str) -> List[Tuple[int, str]]:
    # a file has no order; layer 2 must come before layer 10
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")]


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
