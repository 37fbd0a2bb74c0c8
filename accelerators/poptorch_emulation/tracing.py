"""A flag for code in the emulated device's program, and operators that training may not use."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Iterator

from accelerators.poptorch_emulation.errors import Error

_on_device: ContextVar[bool] = ContextVar("on_device", default=False)
_training: ContextVar[bool] = ContextVar("training", default=False)


def isRunningOnIpu() -> bool:
    """Return whether the caller runs in the device's program."""
    return _on_device.get()


@contextmanager
def on_device(training: bool) -> Iterator[None]:
    """Run the context's code as the device's program."""
    tokens = _on_device.set(True), _training.set(training)
    try:
        yield
    finally:
        _on_device.reset(tokens[0])
        _training.reset(tokens[1])


def for_loop(count: int, body: Any, inputs: list[Any]) -> list[Any]:
    """Run *body* *count* times, each time on its previous result; only in inference."""
    _inference_only("poptorch.for_loop()")
    outputs = list(inputs)
    for _ in range(count):
        result = body(*outputs)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    return outputs


def cond(
    condition: Any, then_body: Any, then_inputs: list[Any], else_body: Any, else_inputs: list[Any]
) -> Any:
    """Run one of two bodies; only in inference."""
    _inference_only("poptorch.cond()")
    return then_body(*then_inputs) if bool(condition) else else_body(*else_inputs)


def _inference_only(what: str) -> None:
    if _training.get():
        raise Error(f"{what} is only supported in inference")
