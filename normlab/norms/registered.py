"""Operators, registered with torch, that change state in their backward.

A compiler calls a registered operator without tracing it, and knows from the signature which
arguments it changes. Registration needs PyTorch 2.4; eager autograd does not need it.
"""

from __future__ import annotations

from typing import Any, Callable

import torch

from normlab.errors import InvalidSpec
from normlab.norms import capture

NAMESPACE = "normlab"

_library: Any = torch.library  # for functions without annotations
_POSSIBLE = hasattr(_library, "register_autograd")
_HERE: Any = _library.Library(NAMESPACE, "FRAGMENT") if _POSSIBLE else None
# a recorded CUDA graph repeats kernels, but not the Python code of these operators
_UNRECORDED = getattr(torch._C.Tag, "cudagraph_unsafe", None)
_TAGS = () if _UNRECORDED is None else (_UNRECORDED,)


def register(schema: str, kernel: Callable[..., Any], shapes: Callable[..., Any]) -> None:
    """
    Register *kernel* as an operator.

    Args:
        schema: name, arguments and results; "(a!)" follows the type of arguments that it changes.
        shapes: function that returns empty results for the same arguments.
    """
    if not is_possible():
        return
    name = schema.split("(", 1)[0]
    _HERE.define(schema, tags=_TAGS)
    _HERE.impl(name, kernel, "CompositeExplicitAutograd")
    _library.register_fake(f"{NAMESPACE}::{name}", shapes, lib=_HERE)


def compose(schema: str, function: Callable[..., Any]) -> None:
    """Register *function*, composed of operators, as one; AOT traces it, but dynamo does not."""
    if is_possible():
        _HERE.define(schema, tags=_TAGS)
        for key in ("CompositeImplicitAutograd", "FuncTorchBatched"):
            _HERE.impl(schema.split("(", 1)[0], function, key)


def batch(name: str, rule: Callable[..., Any]) -> None:
    """Register operator *name*'s rule for torch.func.vmap, *rule* (info, in_dims, *inputs)."""
    if is_possible() and hasattr(_library, "register_vmap"):
        _library.register_vmap(f"{NAMESPACE}::{name}", rule, lib=_HERE)


def differentiate(name: str, backward: Callable[..., Any], keep: Callable[..., None]) -> None:
    """Register *backward* of operator *name*; *keep* (ctx, inputs, output) saves its values."""
    if is_possible():
        _library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=keep, lib=_HERE)


def is_possible() -> bool:
    """Return whether this PyTorch can register operators with everything that a compiler needs."""
    return _POSSIBLE


def check(layer: Any) -> None:
    """
    Check that *layer* can use the operators in the present context.

    Raises:
        InvalidSpec: it runs in a transform of torch.func, in an export, or in PyTorch before 2.4.
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
            f"{name} changes its own state in the backward pass of a training step, and {reason}: "
            "train it eagerly with loss.backward(), put it in evaluation (model.eval()), or choose "
            "a kind such as 'batch' or 'group'"
        )


def check_first_forward(layer: Any) -> None:
    """
    If operators cannot be registered, check that no checkpoint recomputes a compiled *layer*.

    This detects a recomputation that a compiler traces, the first one of a reentrant checkpoint.

    Raises:
        InvalidSpec: its state would change a second time.
    """
    if not is_possible() and capture.is_compiled() and capture.is_traced_in_backward():
        raise InvalidSpec(
            f"{type(layer).__name__} has state that an activation checkpoint around compiled code "
            f"would change twice with PyTorch {torch.__version__} (2.4 prevents it): train it "
            "without the checkpoint, or without torch.compile"
        )


def operator(name: str) -> Any:
    """Return the registered operator *name*."""
    return getattr(getattr(torch.ops, NAMESPACE), name)
