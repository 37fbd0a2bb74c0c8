"""Find which layer takes the output of which other, through all operations between them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Set, Tuple

from torch import Tensor, nn

from accelerators.inspection.operations import Operations, tensors
from normlab.diagnostics.untouched import hooked

Note = Callable[[str, Tensor, Tensor, List[str]], None]
_NOBODY: FrozenSet[str] = frozenset()


class Dataflow:
    """
    Follows tensors through operations; the result of an operation has the sources of its inputs.

    The only source of a layer's output is that layer, so each layer knows only its neighbours.

    Args:
        joins: whether an operation that joins the outputs of several layers counts as a layer, such
            as the sum at the end of a residual block. False for recurrent networks, which add at
            each step.
    """

    def __init__(self, joins: bool) -> None:
        self._joins = joins
        self._joined = 0
        self._note: Optional[Note] = None
        self._from: Dict[int, FrozenSet[str]] = {}
        self._kept: List[Tensor] = []  # an id is unique only as long as its tensor exists

    @contextmanager
    def visiting(self, layers: Mapping[str, nn.Module], note: Note) -> Iterator[None]:
        """Call *note* with name, input, output and sources of each call of *layers*."""

        def visited(name: str, args: Tuple[Any, ...], out: Any) -> None:
            x = next((a for a in tensors(args)), None)
            y = next((a for a in tensors(out)), None)
            if x is None or y is None or x.dim() == 0 or y.dim() == 0:
                return
            note(name, x, y, sorted(self._sources(args) - {name}))
            for tensor in tensors(out):
                self._mark(tensor, frozenset([name]))

        self._note = note
        with Operations(self.performed), hooked(layers, visited):
            yield
        self._note = None

    def performed(self, func: Any, given: Any, result: Any) -> None:
        """Record the sources of the *result* of *func*."""
        sources = self._joining(func, {self._of(tensor) for tensor in tensors(given)}, result)
        for tensor in tensors(result):
            self._mark(tensor, sources)

    def _joining(self, func: Any, found: Set[FrozenSet[str]], result: Any) -> FrozenSet[str]:
        together = frozenset().union(*found)
        if not self._joins or self._note is None or len(found - {_NOBODY}) < 2:
            return together
        if not isinstance(result, Tensor) or result.dim() < 2:
            return together
        self._joined += 1
        name = f"{func.__name__.split('.')[0].rstrip('_')} {self._joined}"
        self._note(name, result, result, sorted(together))
        return frozenset([name])

    def _of(self, tensor: Tensor) -> FrozenSet[str]:
        return self._from.get(id(tensor), _NOBODY)

    def _sources(self, value: Any) -> FrozenSet[str]:
        return frozenset().union(*map(self._of, tensors(value)))

    def _mark(self, tensor: Tensor, sources: FrozenSet[str]) -> None:
        self._from[id(tensor)] = sources
        self._kept.append(tensor)
