"""The engine's passes in C++ loops: see `compiled`; `engine` is the definition."""

from __future__ import annotations

from typing import Any, List, Optional

import torch
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import capture, compiled

_SOURCES = ("engine_fused.cpp", "pooled_fused.cpp", "deviations_fused.cpp", "swished_fused.cpp")

_kernels: List[Any] = []  # empty until `load`


def load(build_directory: Optional[str] = None) -> None:
    """
    Compile and use the C++ loops for inputs on a CPU, from now on in this process.

    Args:
        build_directory: where the compiled library is kept; None is torch's cache.

    Raises:
        DeviceUnavailable: if there is no compiler, or it fails.
    """
    if not _kernels:
        _kernels.append(compiled.load("normlab_engine", _SOURCES, build_directory))


def is_loaded() -> bool:
    """Return whether this process uses the loops."""
    return bool(_kernels)


def unload() -> None:
    """Use the stock operators again."""
    _kernels.clear()


def kernels_for(x: Tensor) -> Any:
    """Return the compiled passes if they are loaded and take *x*, else None."""
    if not _kernels or x.device.type != "cpu" or capture.is_on(x):
        return None
    return _kernels[0]


def nodes_for(x: Tensor, plain: bool, *parameters: Optional[Tensor]) -> Any:
    """
    Return the compiled nodes of the graph if they are loaded and take these tensors, else None.

    A node is a whole normalizer, its derivative by hand. `mixed`, `renormalized` and `streamed`
    take pools as three numbers each (samples in turn, channels in turn, or every so many channels)
    and return y and, averaged over the samples, the moments of the last pool. `deviated` divides by
    a deviation, and returns y and, averaged in the same way, the mean and the value to track.
    `swished` takes groups of channels, and returns y.
    """
    if plain or kernels_for(x) is None:
        return None
    if x.dtype not in (torch.float32, torch.float64) or not x.is_contiguous():
        return None
    fit = all(p is None or p.dtype == x.dtype for p in parameters)
    return _Nodes(_kernels[0]) if fit else None


class _Nodes:
    """The compiled nodes, which refuse a second derivative with an error of ours."""

    def __init__(self, kernels: Any) -> None:
        self._kernels = kernels

    def mixed(self, *given: Any, **options: Any) -> Any:
        return _differentiable_once(self._kernels.mixed(*given, **options))

    def renormalized(self, *given: Any, **options: Any) -> Any:
        return _differentiable_once(self._kernels.renormalized(*given, **options))

    def deviated(self, *given: Any, **options: Any) -> Any:
        return _differentiable_once(self._kernels.deviated(*given, **options))

    def streamed(self, *given: Any, **options: Any) -> Any:
        return _differentiable_once(self._kernels.streamed(*given, **options))

    def swished(self, *given: Any) -> Any:
        return _differentiable_once((self._kernels.swished(*given),))[0]


def _differentiable_once(outputs: Any) -> Any:
    node = outputs[0].grad_fn
    if node is not None:
        node.register_prehook(_refuse_a_graph)
    return outputs


def _refuse_a_graph(gradients: Any) -> None:
    if torch.is_grad_enabled():
        raise InvalidSpec(
            "compiled normalizers can be differentiated once, and create_graph was requested: "
            "use normlab.norms.plain_operators(model) first"
        )
