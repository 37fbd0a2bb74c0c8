"""The order of backward passes in compiled graphs: `turns` for the operators of `registered`.

A graph carries only tensors, so a turn is a number in a tensor, which lives as long as the graph
that saved it for backward. The layer is identified by the address of its control in the forward,
because in the backward a compiler may pass a copy.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Dict, Tuple

import torch
from torch import Tensor

from normlab.errors import Conflict

_numbers = count()
_waiting: Dict[int, Tuple[int, Any]] = {}  # by number: the layer, and a weak reference to the turn


def open_turn(control: Tensor) -> Tensor:
    """
    Record a forward of the layer with *control*; return its turn, to be saved for its backward.

    A checkpoint saves no turn in the first forward, so only the recomputed forward's lives on.
    """
    turn = torch.tensor(next(_numbers))
    weak: Any = torch.multiprocessing.reductions.StorageWeakRef
    kept = weak(turn.untyped_storage())
    _waiting[int(turn)] = (control.data_ptr(), kept)
    return turn


def take_turn(turn: Tensor) -> None:
    """
    Allow the backward of *turn*.

    Raises:
        Conflict: it ran before, or another forward waits for its own backward.
    """
    for number in [number for number, (_, kept) in _waiting.items() if kept.expired()]:
        del _waiting[number]
    number = int(turn)
    if number not in _waiting:
        raise Conflict(
            "a second backward through one compiled forward of 'online': its control process has "
            "moved on with the first; run forward again, or add the losses and call backward once"
        )
    layer, _ = _waiting[number]
    waiting = sum(other == layer for other, _ in _waiting.values())
    if waiting > 1:
        raise Conflict(
            f"{waiting} compiled training forwards of 'online' wait for their backward: its "
            "control process takes samples in order, one forward and its backward after the "
            "other; put the samples in one batch, call backward after each forward, or run a "
            "forward that needs no backward under torch.no_grad()"
        )
    del _waiting[number]
