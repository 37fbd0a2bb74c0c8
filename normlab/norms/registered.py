"""Operators that move state in their backward, registered with torch.

A compiler calls a registered operator without a look inside, and knows from its signature which of
its arguments it moves. Registration needs PyTorch 2.4; eager autograd does without.
"""

from __future__ import annotations

from typing import Any, Callable

import torch

from normlab.errors import InvalidSpec
from normlab.norms import capture

NAMESPACE = "normlab"

_library: Any = torch.library  # functions that its annotations leave out
_POSSIBLE = hasattr(_library, "register_autograd")
_HERE: Any = _library.Library(NAMESPACE, "FRAGMENT") if _POSSIBLE else None
# a recorded CUDA graph repeats kernels, and not what Python does in these operators
_UNRECORDED = getattr(torch._C.Tag, "cudagraph_unsafe", None)
_TAGS = () if _UNRECORDED is None else (_UNRECORDED,)


def register(schema: str, kernel: Callable[..., Any], shapes: Callable[..., Any]) -> None:
    """
    Register *kernel* as an operator.

    Args:
        schema: name, arguments and results, "(a!)" behind the type of those that it moves.
        shapes: returns empty results for the same arguments.
    """
    if not is_possible():
        return
    name = schema.split("(", 1)[0]
    _HERE.define(schema, tags=_TAGS)
    _HERE.impl(name, kernel, "CompositeExplicitAutograd")
    _library.register_fake(f"{NAMESPACE}::{name}", shapes, lib=_HERE)


def compose(schema: str, function: Callable[..., Any]) -> None:
    """Register *function*, made of operators, as one: dynamo does not look inside, AOT does."""
    if is_possible():
        _HERE.define(schema, tags=_TAGS)
        for key in ("CompositeImplicitAutograd", "FuncTorchBatched"):
            _HERE.impl(schema.split("(", 1)[0], function, key)


def batch(name: str, rule: Callable[..., Any]) -> None:
    """Register what operator *name* does under torch.func.vmap: *rule* (info, in_dims, *inputs)."""
    if is_possible() and hasattr(_library, "register_vmap"):
        _library.register_vmap(f"{NAMESPACE}::{name}", rule, lib=_HERE)


def differentiate(name: str, backward: Callable[..., Any], keep: Callable[..., None]) -> None:
    """Register *backward* of operator *name*; *keep* (ctx, inputs, output) is what it needs."""
    if is_possible():
        _library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=keep, lib=_HERE)


def is_possible() -> bool:
    """Return whether this PyTorch can register operators with all that a compiler asks for."""
    return _POSSIBLE


def check(layer: Any) -> None:
    """
    Check that the operators may serve *layer* in what runs now.

    Raises:
        InvalidSpec: in a transform of torch.func, an export, or a PyTorch before 2.4.
    """
    name, reason = type(layer).__name__, None
    if capture.is_transformed() or capture.is_transform_traced():
        reason = "a transform of torch.func (vmap, grad, jvp) cannot carry that"
    elif capture.is_exported():
        reason = "an exported program cannot carry that"
    elif not is_possible():
        reason = f"PyTorch {torch.__version__} cannot compile that, 2.4 can"
    if reason is not None:
        raise InvalidSpec(
            f"{name} moves state of its own in the backward pass of a training step, and {reason}: "
            "train it eagerly with loss.backward(), put it in evaluation (model.eval()), or choose "
            "a kind such as 'batch' or 'group'"
        )


def operator(name: str) -> Any:
    """Return the registered operator *name*."""
    return getattr(getattr(torch.ops, NAMESPACE), name)
