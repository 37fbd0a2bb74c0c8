"""Recomputed forwards in compiled graphs: `recomputation` for the operators of `registered`.

A graph is the same in a forward and in its recomputation. So an operator in the graph decides at
each run which of the two this is, and from which state the forward started. A layer is identified
by the address of its count of statistics; if a graph uses it twice or passes a copy, by its input.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import registered
from normlab.norms.recomputation import FirstForward, Recalled, hooks_save, in_backward

_LAYERS = 1024  # the number of layers whose forwards are kept

_recalled: OrderedDict[Tuple[str, int], Recalled] = OrderedDict()


def normalize(layer: Any, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
    """
    Run *layer* in training in a compiled graph; only the first forward changes its state.

    Raises:
        Conflict: it runs inside backward, and the forward that it recomputes cannot be identified.
    """
    names = dict.fromkeys((*layer.moved, *layer.begun, *layer.reads))
    moving = [getattr(layer, name) for name in names]
    before = [state.clone() for state in moving]
    layer.begin(x)
    read = [getattr(layer, name) for name in layer.reads]
    first, *started = registered.operator("start")(
        x.detach(),
        layer.nonfinite_statistics,
        read,
        type(layer).__name__,
        layer.recalls,
        torch.is_grad_enabled(),
    )
    for state, start in zip(read, started):
        state.copy_(start)
    y: Tensor = layer.normalize(x, weight, bias)
    for state, old in zip(moving, before):
        state.copy_(torch.where(first, state, old))
    return y


def _start(
    x: Tensor, mark: Tensor, read: List[Tensor], layer: str, most: int, graph: bool
) -> List[Tensor]:
    # If a compiler traces a checkpoint inside its graph, the checkpoint's hooks are active here.
    noted = not graph or hooks_save(traced=True)
    found: List[Tensor] = registered.operator("started")(x, mark, read, layer, most, noted)
    return found


def _started(
    x: Tensor, mark: Tensor, read: List[Tensor], layer: str, most: int, noted: bool
) -> List[Tensor]:
    """Return whether this is a first forward, and the state *read* of the first forward."""
    first = not in_backward()
    if read and not first:
        read = list(_find(x, mark, layer, most).state.values())
    elif read:
        _note(x, mark, read, layer, most, noted or hooks_save())
    return [x.new_full((), first, dtype=torch.bool), *[state.clone() for state in read]]


def _note(x: Tensor, mark: Tensor, read: List[Tensor], layer: str, most: int, noted: bool) -> None:
    key = (layer, mark.data_ptr())
    if key in _recalled:
        _recalled.move_to_end(key)
        _recalled[key].forget_recomputed()
    if noted:
        state = {str(i): state.clone() for i, state in enumerate(read)}
        recalled = _recalled.setdefault(key, Recalled(most, tuple(state)))
        recalled.add(x, state)
    while len(_recalled) > _LAYERS:
        _recalled.popitem(last=False)


def _find(x: Tensor, mark: Tensor, layer: str, most: int) -> FirstForward:
    own = _recalled.get((layer, mark.data_ptr())) or Recalled(most, ())
    found = own.like(x)
    if not found:
        others = [recalled for (name, _), recalled in _recalled.items() if name == layer]
        found = [f for recalled in others for f in recalled.like(x)]
    return own.choose(layer, found)


def _shapes(x: Tensor, mark: Tensor, read: List[Tensor], *others: Any) -> List[Tensor]:
    return [x.new_empty((), dtype=torch.bool), *[torch.empty_like(state) for state in read]]


def _batched(info: Any, in_dims: Any, *inputs: Any) -> Any:
    return registered.operator("started")(*inputs), [None, *in_dims[2]]


_ARGUMENTS = "Tensor x, Tensor mark, Tensor[] read, str layer, int most"

registered.compose(f"start({_ARGUMENTS}, bool graph) -> Tensor[]", _start)
registered.register(f"started({_ARGUMENTS}, bool noted) -> Tensor[]", _started, _shapes)
registered.batch("started", _batched)
