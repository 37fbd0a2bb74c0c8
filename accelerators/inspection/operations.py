"""Watch every operation on tensors, as the measures of a network without data do."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Tuple

from torch import Tensor

from normlab.norms.typed_bases import DispatchMode

Performed = Callable[[Any, Any, Any], None]


class Operations(DispatchMode):
    """
    Tells *performed* of each operation while it is active.

    Args:
        performed: gets the operation, what it was given, and what it returned.
    """

    def __init__(self, performed: Performed) -> None:
        super().__init__()
        self._performed = performed

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Mapping[str, Any]] = None,
    ) -> Any:
        """Call *func*, and tell of it."""
        named = dict(kwargs or {})
        result = func(*args, **named)
        self._performed(func, (args, list(named.values())), result)
        return result


def tensors(value: Any) -> Iterator[Tensor]:
    """Find the tensors in *value*, which may be in lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors(one)
