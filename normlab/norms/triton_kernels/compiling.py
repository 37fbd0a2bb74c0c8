"""Make and launch kernels, in one of Triton's two modes."""

from __future__ import annotations

from typing import Any, Callable

import torch
import triton
from torch import Tensor

jit: Callable[[Callable[..., Any]], Any] = triton.jit


def is_interpreted() -> bool:
    """Return whether Triton interprets kernels in numpy on a CPU instead of compiling them."""
    return not isinstance(_nothing, triton.JITFunction)


def launch(kernel: Any, programs: int, x: Tensor, *given: Any, **options: int) -> None:
    """
    Run *programs* programs of *kernel* on *x* and the other arguments, on the GPU of *x*.

    Args:
        options: of Triton's launch, such as num_warps.
    """
    # Triton uses the current GPU, perhaps not the replica's; -1, for a CPU, changes nothing.
    with torch.cuda.device(x.get_device()):
        kernel[(programs,)](x, *given, **options)


@jit
def _nothing() -> None:
    pass
