"""Detect whether torch captures or transforms a layer, which then uses plain operators.

A compiler, an exporter and the transforms of torch.func see only operators. They do not see values
that one custom autograd function leaves for another, loops in C++, or numbers that Python reads
from a tensor. Their results would be silently wrong, or they would fail.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar, Union

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

Number = Union[float, Tensor]
Value = TypeVar("Value", float, Tensor, Number)

_torch: Any = torch  # for functions without annotations
# torch.compiler is new in 2.1; in older versions, dynamo replaces this function of torch._utils
_is_compiling: Callable[[], bool] = getattr(_torch, "compiler", _torch._utils).is_compiling
# the C function, because every forward calls it
_transform = _torch._C._functorch.peek_interpreter_stack
_FUNCTIONALIZED = _torch._C._functorch.TransformType.Functionalize  # a compiler's own transform
_is_traced: Callable[[], bool] = _torch._C._is_tracing
_dispatchers: Callable[[], int] = _torch._C._len_torch_dispatch_stack


def is_on(x: Tensor) -> bool:
    """Return whether operators on *x* are captured or transformed, or *x* has no data."""
    if _is_compiling():
        return True
    # make_fx and fake tensors dispatch, but do not set the compiler's flag
    if _transform() is not None or _is_traced() or _dispatchers():
        return True
    return x.is_meta or forward_ad._current_level >= 0


def is_readable(x: Tensor) -> bool:
    """Return whether values of *x* can be read without waiting: on a CPU, in eager mode."""
    return x.is_cpu and type(x) is Tensor and not is_on(x)


def has_values(x: Tensor) -> bool:
    """Return whether Python may keep values of *x* and compare them."""
    if not is_on(x):
        return True
    if _is_compiling() or _transform() is not None or _is_traced():
        return False
    return not x.is_meta and not isinstance(x, FakeTensor)


def is_compiled() -> bool:
    """Return whether torch.compile traces, but not an exporter."""
    return _is_compiling() and not is_exported()


def is_transformed() -> bool:
    """Return whether a transform of torch.func runs: vmap, grad, jvp, or a combination."""
    # a compiler that traces this call is on the stack itself
    return not _is_compiling() and _transform() is not None


def _asked_in_traces(function: Callable[[], bool]) -> Callable[[], bool]:
    # A compiler does not trace this function, but calls it while it traces.
    # `torch.compiler.assume_constant_result` does the same, but imports the whole compiler.
    function.__dict__["_dynamo_marked_constant"] = True
    return function


@_asked_in_traces
def is_transform_traced() -> bool:
    """Return whether a transform of torch.func runs, or the calling compiler traces one."""
    innermost = _transform()
    return innermost is not None and innermost.key() != _FUNCTIONALIZED


@_asked_in_traces
def is_traced_in_backward() -> bool:
    """Return whether a backward pass runs, also if a compiler traces this call there."""
    return int(torch._C._current_graph_task_id()) != -1


def is_exported() -> bool:
    """Return whether torch.export runs."""
    exporting = getattr(getattr(torch, "compiler", None), "is_exporting", None)
    return exporting is not None and bool(exporting())


def bounded(value: Value, low: Number, high: Number) -> Value:
    """Clamp *value* between *low* and *high*."""
    if isinstance(value, Tensor):
        return _bounded_tensor(value, low, high)
    within: Any = min(max(value, low), high)
    return within  # type: ignore[no-any-return]


def _bounded_tensor(value: Tensor, low: Number, high: Number) -> Tensor:
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return value.clamp(low, high)
    least, most = (torch.as_tensor(limit).to(value) for limit in (low, high))
    return torch.minimum(torch.maximum(value, least), most)
