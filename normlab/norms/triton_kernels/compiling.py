"""How kernels are made and launched, and in which of Triton's two modes."""

from __future__ import annotations

from typing import Any, Callable

import torch
import triton
from torch import Tensor

jit: Callable[[Callable[..., Any]], Any] = triton.jit


def is_interpreted() -> bool:
    """Return whether Triton interprets kernels in numpy, on a CPU, and does not compile them."""
    return not isinstance(_nothing, triton.JITFunction)


def launch(kernel: Any, programs: int, x: Tensor, *given: Any) -> None:
    """Run *programs* of *kernel* on *x* and the other arguments, on the GPU that *x* is on."""
    with torch.cuda.device_of(x):  # Triton takes the current one, which another replica may use
        kernel[(programs,)](x, *given)


@jit
def _nothing() -> None:
    pass
