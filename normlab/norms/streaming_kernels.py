"""Streaming normalization's state in Triton kernels: see `streaming` for the definition."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from normlab.norms import engine, engine_triton, solve_forms
from normlab.norms.engine import Solved
from normlab.norms.solve_forms import Pool, make_form


def normalize(
    layer: Any, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
) -> Optional[Tensor]:
    """Normalize *x* in training, if there are kernels for it and *layer*."""
    form = make_form(layer.eps, (Pool(x.shape[0], 1, 0),), stream=_Streams(layer))
    known = kernels_for(layer, x) is not None
    if not known or solve_forms.kernels_for(form, x, (weight, bias)) is None:
        return None
    return engine.normalize(x, _refused, (weight, bias), form=form, following=layer.following)[0]


def kernels_for(layer: Any, x: Tensor) -> Any:
    """Return the kernels if they are loaded, and support *x* and the state of *layer*."""
    state = (layer.short, layer.running_mean, layer.gradient_long)
    if layer.plain or any(t.dtype != torch.float32 for t in state):
        return None
    return engine_triton.kernels_for(x)


def close_short_term(kernels: Any, layer: Any) -> None:
    """End the short term of *layer*; without a weight, only if a gradient has been streamed."""
    gradients = (layer.gradient_short, layer.gradient_long, layer.gradient_count)
    kernels.close(_terms(kernels, layer), *gradients, layer.momentum, layer.weight is None)


class _Streams:
    """The state of one forward, also in a functional call: its backward changes the same state."""

    def __init__(self, layer: Any) -> None:
        self._layer, self._state = layer, layer.gradient_state()

    def used(self, kernels: Any, now: Tensor) -> Tensor:
        """Take the statistics of the present batch, and return those to use."""
        layer = self._layer
        terms, skipped = _terms(kernels, layer), layer.nonfinite_statistics
        used: Tensor = kernels.stream(terms, now, layer.forward_short, skipped=skipped)
        return used

    def streamed(self, kernels: Any, g: Tensor, used: Tensor) -> Tensor:
        """Take the gradients of the present batch, and return those to use."""
        short, long, count, closed, share = self._state
        terms = kernels.Terms(short, long[0], long[1], count, closed)
        streamed: Tensor = kernels.stream(terms, g, share, checked=used)
        return streamed


def _refused(*moments: Tensor) -> Solved:
    raise NotImplementedError("a streamed gradient has no second derivative")


def _terms(kernels: Any, layer: Any) -> Any:
    long = (layer.running_mean, layer.running_var)
    return kernels.Terms(layer.short, *long, layer.short_count, layer.num_batches_tracked)
