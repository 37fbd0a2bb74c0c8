"""Gradient bias: what the gradients of small batches average to, against that of all the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List

import torch
from torch import Tensor, nn

from normlab.diagnostics.full_statistics import full_statistics_replica, normalizing_replica
from normlab.diagnostics.moment import Loss
from normlab.errors import InvalidSpec


@dataclass(frozen=True)
class GradientBias:
    """
    The average gradient g over batches against the gradient f of all the data, all layers as one.

    Args:
        cosine: of the angle between g and f; 1 without an error of direction.
        norm_ratio: ||g|| / ||f||; 1 without an error of length.
        relative_error: ||g - f|| / ||f||.
    """

    cosine: float
    norm_ratio: float
    relative_error: float


def measure_gradient_bias(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    batch_size: int,
    passes: int = 2,
    warm_up: int = 0,
    seed: int = 0,
) -> GradientBias:
    """
    Average the gradients of all batches at fixed weights, and compare with the full gradient.

    Samples are divided into new random batches for each pass, so that without batch statistics the
    average is the full gradient exactly. With them it is not: the statistics of a small batch
    depend on the sample that they normalize. The full gradient takes *x* as one batch; for
    online normalization it goes through the moments that its running ones estimate.

    All modules except the normalizers are in evaluation mode, and *model* is not changed.

    Args:
        model: any torch model.
        loss: mean over the samples, of output and target.
        x: samples; those that fill no whole batch are left out.
        y: their targets.
        batch_size: samples that one call of the model sees.
        passes: over the samples, averaged.
        warm_up: passes before, for running statistics to settle.
        seed: for the division into batches.

    Raises:
        InvalidSpec: fewer than two batches, no pass, or no gradient at all.

    Source:
        Chiley et al., "Online Normalization for Training Neural Networks", NeurIPS 2019,
        arXiv:1905.05894, the section on gradient bias; ours compares parameter gradients.
    """
    n = len(x) - len(x) % max(batch_size, 1)
    if batch_size < 1 or n < 2 * batch_size or passes < 1 or warm_up < 0:
        raise InvalidSpec(
            f"{batch_size=}, {passes=}, {warm_up=}, {len(x)} samples: needs two batches and a pass"
        )
    x, y = x[:n], y[:n]
    with full_statistics_replica(model) as whole:
        full = _flat(_gradient(whole, loss, x, y))
    if not bool(full.norm() > 0):
        raise InvalidSpec("the gradient over all samples is zero: it has no direction to compare")
    generator = torch.Generator().manual_seed(seed)
    with normalizing_replica(model) as twin:
        for index in _deals(n, batch_size, warm_up, generator):
            _gradient(twin, loss, x[index], y[index])
        mean = torch.zeros_like(full)
        for index in _deals(n, batch_size, passes, generator):
            mean += _flat(_gradient(twin, loss, x[index], y[index]))
    mean /= passes * (n // batch_size)
    return GradientBias(
        cosine=float(mean @ full / (mean.norm() * full.norm()).clamp_min(1e-300)),
        norm_ratio=float(mean.norm() / full.norm()),
        relative_error=float((mean - full).norm() / full.norm()),
    )


def _deals(n: int, size: int, passes: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(passes):
        yield from torch.split(torch.randperm(n, generator=generator), size)


def _gradient(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        value = loss(model(x), y)
        found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    pairs = zip(named.items(), found)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}


def _flat(gradient: Dict[str, Tensor]) -> Tensor:
    rows: List[Tensor] = [gradient[name].double().flatten() for name in sorted(gradient)]
    return torch.cat(rows)
