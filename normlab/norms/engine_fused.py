"""The engine's passes in C++ loops: faster, optional, never by itself.

The stock operators of `engine` are the definition and run everywhere. `load` compiles the loops,
once a machine; until somebody calls it nothing is compiled, and no installation needs a compiler.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List, Optional

import torch
from torch import Tensor

from normlab.errors import DeviceUnavailable

_SOURCES = ("engine_fused.cpp", "pooled_fused.cpp")

_kernels: List[Any] = []  # empty until `load`


def load(build_directory: Optional[str] = None) -> None:
    """
    Compile and use the C++ loops for inputs on a CPU, from now on in this process.

    Args:
        build_directory: where the compiled library is kept; None is torch's cache.

    Raises:
        DeviceUnavailable: if there is no compiler, or it fails.
    """
    if _kernels:
        return
    if shutil.which("ninja") is None or not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise DeviceUnavailable(
            "the engine's fused passes need a C++ compiler and ninja on PATH; without them leave "
            "them out, every layer computes the same in stock operators"
        )
    from torch.utils import cpp_extension

    flags = ["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
    try:
        cpp_extension.load(
            "normlab_engine",
            [str(Path(__file__).with_name(name)) for name in _SOURCES],
            extra_cflags=flags,
            build_directory=build_directory,
            is_python_module=False,
        )
    except (RuntimeError, OSError) as e:
        raise DeviceUnavailable(f"the engine's fused passes: {e}") from e
    _kernels.append(torch.ops.normlab_engine)


def unload() -> None:
    """Use stock operators again."""
    _kernels.clear()


def kernels_for(x: Tensor) -> Any:
    """Return the compiled passes if they are loaded and take *x*, else None."""
    return _kernels[0] if _kernels and x.device.type == "cpu" else None


def nodes_for(x: Tensor, plain: bool, *parameters: Optional[Tensor]) -> Any:
    """
    Return the compiled nodes of the graph if they are loaded and take these tensors, else None.

    A node is a whole normalizer, its derivative by hand: `mixed`, `renormalized`, `streamed`. Each
    takes pools as three numbers each (samples in turn, channels in turn, or every so many channels)
    and returns y and, averaged over the samples, the moments of the last pool.
    """
    if not _kernels or plain or x.device.type != "cpu":
        return None
    if x.dim() < 3 or x.dtype not in (torch.float32, torch.float64) or not x.is_contiguous():
        return None
    return _kernels[0] if all(p is None or p.dtype == x.dtype for p in parameters) else None
