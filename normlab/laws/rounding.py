"""The error that a 16-bit format causes in a layer with exact arithmetic; it sets tolerances.

The net computes in float64. The inputs, outputs and parameters of a layer and of the convolution
before it, and the gradients of all these, are rounded to the format, up or down at random. The
distance of such runs from a run without rounding is the expected error of each gradient and state.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Callable, Dict, List

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.laws import small_trainings
from normlab.laws.small_trainings import Record
from normlab.norms.typed_bases import Function

RUNS = 12
FACTOR = 1.5  # rounding to nearest has at most 0.9 of the error of random rounding


class _Rounded(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.rounded = rounded
        return rounded(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return ctx.rounded(g), None


def _at_random(x: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    step = torch.finfo(dtype).eps * torch.exp2(x.abs().clamp_min(1e-30).log2().floor())
    offset = torch.rand(x.shape, generator=generator, dtype=torch.float64) - 0.5
    return (x + offset * step).to(dtype).double()


def _run(net: nn.Module, dtype: torch.dtype, seed: int, wide: bool) -> Record:
    """Train *net* with rounded tensors between layers; *wide* parameters are not rounded."""
    generator = torch.Generator().manual_seed(seed)
    at_random = partial(_at_random, dtype=dtype, generator=generator)
    assert isinstance(net, nn.Sequential)
    convolution, layer = net
    wide_ones = [getattr(m, n) for m in net.modules() for n in getattr(m, "decisive", ())]
    kept = {id(p) for p in (layer.parameters() if wide else wide_ones)}

    def rounded(x: Tensor) -> Tensor:
        y: Tensor = _Rounded.apply(x, at_random)
        return y

    def call(x: Tensor) -> Tensor:
        z = rounded(F.conv2d(rounded(x), rounded(convolution.weight)))  # type: ignore[arg-type]
        own = {n: p if id(p) in kept else rounded(p) for n, p in layer.named_parameters()}
        return rounded(torch.func.functional_call(layer, own, (z,)))

    return small_trainings.train(net, call)


def tolerances(
    net: Callable[[], nn.Module],
    exact: Record,
    dtype: torch.dtype,
    wide: bool,
    distance: Callable[[Tensor, Tensor], float],
) -> Dict[str, float]:
    """Return how far each value may be from *exact* if *net* trains in *dtype*."""
    runs: List[Record] = [_run(net().double(), dtype, seed, wide) for seed in range(RUNS)]
    found = {}
    for name, right in exact.items():
        squares = [distance(run[name], right) ** 2 for run in runs if name in run]
        mean = math.sqrt(sum(squares) / max(1, len(squares)))
        found[name] = FACTOR * (mean + torch.finfo(dtype).eps / 4)
    return found
