"""Adaptive gradient clipping: each unit's gradient by the norm of its weights."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from normlab.diagnostics.step_size import TRANSPOSED, filter_layers
from normlab.specs.jobs import JobSpec

_LEAST_NORM = 1e-3  # least norm of weights, so that weights of 0 can start to learn
_TINY = 1e-6  # least norm of a gradient, in the denominator


class Unit(NamedTuple):
    """A part that is clipped by itself: the parameter, or each of its output channels."""

    parameter: nn.Parameter
    dims: Tuple[int, ...]
    """The dimensions of one norm; for a vector, all."""


class AdaptiveClipping:
    """
    Scale down the gradient of each unit if it is long compared with the unit's weights.

    G <- G min(1, ratio max(||W||, 1e-3) / ||G||). A unit is the part of a filter or linear layer
    that belongs to one output channel, or any other parameter as a whole. The last layer with
    filters is not clipped.

    Args:
        model: the model whose gradients are clipped.
        ratio: the largest norm of a gradient, relative to that of the weights.

    Source:
        Brock, De, Smith and Simonyan, "High-Performance Large-Scale Image Recognition Without
        Normalization", 2021, arXiv:2102.06171, equation 3. Theirs leaves out the last linear
        layer, too.
    """

    def __init__(self, model: nn.Module, ratio: float) -> None:
        self._ratio = ratio
        self._units = clipped_units(model)

    @torch.no_grad()
    def __call__(self) -> None:
        """Clip all existing gradients."""
        for parameter, dims in self._units:
            if parameter.grad is not None:
                clip_units(parameter, parameter.grad, dims, self._ratio)


def clip_units(
    weights: Tensor, gradient: Tensor, dims: Sequence[int], ratio: Union[float, Tensor]
) -> None:
    """Clip *gradient* in place, by norms over *dims*."""
    most = _norm(weights, dims).clamp_min(_LEAST_NORM) * ratio
    found = _norm(gradient, dims).clamp_min(_TINY)
    gradient.mul_((most / found).clamp_max(1.0))


def adaptive_clipping(model: nn.Module, spec: JobSpec) -> Optional[AdaptiveClipping]:
    """Return the clipper of *model*'s gradients that *spec* asks for; None if it asks for none."""
    ratio = spec.optimizer.clip_ratio
    return None if ratio is None else AdaptiveClipping(model, ratio)


def clipped_units(model: nn.Module) -> List[Unit]:
    """List the units of *model*, without those of its last layer with filters."""
    layers = filter_layers(model)
    free = {id(p) for _, layer in layers[-1:] for p in layer.parameters()}
    across: Dict[int, int] = {}  # parameters with the output channels in the second dimension
    for _, layer in layers:
        if isinstance(layer, TRANSPOSED):
            across.update({id(p): 1 for p in layer.parameters() if p.dim() > 1})
    return [
        Unit(p, _others(p, across.get(id(p), 0))) for p in model.parameters() if id(p) not in free
    ]


def _others(parameter: Tensor, channel: int) -> Tuple[int, ...]:
    dims = range(parameter.dim())
    return tuple(dims) if parameter.dim() < 2 else tuple(d for d in dims if d != channel)


def _norm(x: Tensor, dims: Sequence[int]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=tuple(dims) or None, keepdim=True)
    return norm
