"""Check the order of backward passes, for layers whose state changes in the backward pass."""

from __future__ import annotations

import weakref
from typing import Any, List, Tuple

from normlab.errors import Conflict
from normlab.norms.recomputation import in_backward


class Turn:
    """One training forward; it exists as long as the forward's graph."""

    __slots__ = ("__weakref__", "done")

    def __init__(self) -> None:
        self.done = False


class Turns:
    """
    The forwards of one layer whose backward may still run.

    Each backward pass must come before the next training forward, or the state that it changes
    would be silently wrong. A forward whose graph no longer exists does not count. Copies and
    pickles of the layer start with none.
    """

    def __init__(self) -> None:
        self._waiting: List[weakref.ReferenceType[Turn]] = []

    def open(self) -> Turn:
        """Record a forward; the caller keeps the result in its graph and nowhere else."""
        turn = Turn()
        self._waiting = [ref for ref in self._waiting if _waits(ref)]
        if not in_backward():  # a recomputed forward has the turn of the first one
            self._waiting.append(weakref.ref(turn))
        return turn

    def take(self, turn: Turn, layer: str) -> None:
        """
        Allow the backward of *turn*.

        Raises:
            Conflict: it ran before, or another forward waits for its own backward.
        """
        if turn.done:
            raise Conflict(
                f"a second backward through one forward of {layer}: its control process has moved "
                "on with the first; run forward again, or add the losses and call backward once"
            )
        others = [ref for ref in self._waiting if _waits(ref) and ref() is not turn]
        if others:
            raise Conflict(
                f"{len(others) + 1} training forwards of {layer} wait for their backward: its "
                "control process takes samples in order, one forward and its backward after the "
                "other; put the samples in one batch, call backward after each forward, or run a "
                "forward that needs no backward under torch.no_grad() or in evaluation"
            )
        turn.done = True

    def __deepcopy__(self, memo: Any) -> Turns:
        return Turns()

    def __reduce__(self) -> Tuple[Any, ...]:
        return Turns, ()


def _waits(ref: weakref.ReferenceType[Turn]) -> bool:
    turn = ref()
    return turn is not None and not turn.done
