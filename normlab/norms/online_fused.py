"""Online Normalization with loops compiled from C++: faster, optional, never by itself.

`online_coefficients` and `online_passes` are the definition and run everywhere. `load` compiles the
loops, once a machine; until somebody calls it nothing is compiled, and no installation needs a
compiler.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from normlab.errors import DeviceUnavailable
from normlab.norms.online_coefficients import Backward, Forward, Options

_FLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]

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
            extra_cflags=_FLAGS,
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


def dots(rows: Tensor, g: Tensor, f: Forward, limit: Optional[float]) -> Tuple[Tensor, Tensor]:
    """Return sum(g) and sum(g * (x - mean)) over the positions where z is inside *limit*."""
    maps = f.mus.contiguous(), f.scale, f.shift
    s0, s1 = _kernels[0].dots(rows, g, *maps, _bound(limit)).unbind()
    return s0, s1


def input_grad(
    rows: Tensor, g: Tensor, f: Forward, back: Backward, limit: Optional[float]
) -> Tensor:
    """Return of_g * g + of_x * x + shift, with g where z is inside *limit* and 0 elsewhere."""
    maps = back.of_g, back.of_x, back.shift, f.scale, f.shift
    gx: Tensor = _kernels[0].input_grad(rows, g, *maps, _bound(limit))
    return gx


def _bound(limit: Optional[float]) -> float:
    return math.inf if limit is None else limit
