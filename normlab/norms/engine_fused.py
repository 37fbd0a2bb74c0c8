"""The engine's passes in C++ loops (see `compiled`); `engine` is the definition."""

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
    Compile the C++ loops, and use them for inputs on a CPU in this process from now on.

    Args:
        build_directory: folder for the compiled library; None is torch's cache.

    Raises:
        DeviceUnavailable: there is no compiler, or it fails.
    """
    if not _kernels:
        _kernels.append(compiled.load("normlab_engine", _SOURCES, build_directory))


def is_loaded() -> bool:
    """Return whether this process uses the loops."""
    return bool(_kernels)


def unload() -> None:
    """Use torch's operators again."""
    _kernels.clear()


def kernels_for(x: Tensor) -> Any:
    """Return the compiled passes if they are loaded and support *x*, else None."""
    if not _kernels or x.device.type != "cpu" or capture.is_on(x):
        return None
    return _kernels[0]


def nodes_for(x: Tensor, plain: bool, *parameters: Optional[Tensor]) -> Any:
    """
    Return the compiled graph nodes if they are loaded and support these tensors, else None.

    A node is a whole normalizer with a hand-written derivative. `mixed`, `renormalized` and
    `streamed` take pools of three numbers each (consecutive samples, consecutive channels, or the
    stride of channels). They return y, and the moments of the last pool averaged over the samples.
    `deviated` divides by a deviation, and returns y, and the mean and the tracked value averaged in
    the same way. `swished` takes groups of channels, and returns y.
    """
    if plain or kernels_for(x) is None:
        return None
    if x.dtype not in (torch.float32, torch.float64) or not x.is_contiguous():
        return None
    fit = all(p is None or p.dtype == x.dtype for p in parameters)
    return _Nodes(_kernels[0]) if fit else None


class _Nodes:
    """The compiled nodes; they refuse a second derivative with our own error."""

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
