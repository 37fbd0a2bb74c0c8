"""Watch every operation on tensors, to measure a network without data."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Tuple

from torch import Tensor

from normlab.norms.typed_bases import DispatchMode

Performed = Callable[[Any, Any, Any], None]


class Operations(DispatchMode):
    """
    Calls *performed* after each operation while it is active.

    Args:
        performed: receives the operation, its arguments and its result.
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
        """Call *func*, then *performed*."""
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
