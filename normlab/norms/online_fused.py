"""The (N, C) part of Online Normalization in one C++ loop: faster, optional, never by itself.

`online_coefficients` is the definition and runs everywhere. `load` compiles the loop, once a
machine; until somebody calls it nothing is compiled, and no installation needs a compiler.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List, Optional

import torch
from torch import Tensor

from normlab.errors import DeviceUnavailable
from normlab.norms.online_coefficients import Backward, Forward, Options

_kernels: List[Any] = []  # empty until `load`


def load(build_directory: Optional[str] = None) -> None:
    """
    Compile and use the C++ loop for layers on a CPU, from now on in this process.

    Args:
        build_directory: where the compiled library is kept; None is torch's cache.

    Raises:
        DeviceUnavailable: if there is no compiler, or it fails.
    """
    if _kernels:
        return
    if shutil.which("ninja") is None or not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise DeviceUnavailable(
            "the fused loop of online normalization needs a C++ compiler and ninja on PATH; "
            "without them leave it out, the layer computes the same in stock operators"
        )
    from torch.utils import cpp_extension

    try:
        cpp_extension.load(
            "normlab_online",
            [str(Path(__file__).with_name("online_fused.cpp"))],
            extra_cflags=["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"],
            build_directory=build_directory,
            is_python_module=False,
        )
    except (RuntimeError, OSError) as e:
        raise DeviceUnavailable(f"the fused loop of online normalization: {e}") from e
    _kernels.append(torch.ops.normlab_online)


def unload() -> None:
    """Use stock operators again."""
    _kernels.clear()


def serves(x: Tensor) -> bool:
    """Return whether the loop is loaded and takes *x*."""
    return bool(_kernels) and x.device.type == "cpu"


def forward(
    means: Tensor,
    variances: Tensor,
    mu: Tensor,
    var: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    o: Options,
) -> Forward:
    """Do what `online_coefficients.forward` does."""
    size = o.group_size or 0
    *maps, factor, new_mu, new_var = _kernels[0].forward(
        means.contiguous(), variances, mu, var, w, b, o.alpha_forward, o.eps, size, o.scaling_eps
    )
    return Forward._make([*maps, factor if size else None, new_mu, new_var])


def backward(
    pz: Tensor,
    rz: Tensor,
    f: Forward,
    u: Tensor,
    v: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    o: Options,
) -> Backward:
    """Do what `online_coefficients.backward` does."""
    kept = (f.inv, f.mus.contiguous(), f.my, f.my2)
    factor = None if f.factor is None else f.factor.expand_as(f.my).contiguous()
    size = o.group_size or 0
    return Backward._make(
        _kernels[0].backward(pz, rz, *kept, factor, u, v, w, b, o.alpha_backward, size)
    )
