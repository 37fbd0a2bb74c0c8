"""Gradient bias: compare the average gradient of small batches with the gradient of all data."""

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
    The average gradient g over batches, compared with the gradient f of all data, over all layers.

    Args:
        cosine: cosine of the angle between g and f; 1 if there is no error of direction.
        norm_ratio: ||g|| / ||f||; 1 if there is no error of length.
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

    Each pass divides the samples into new random batches. Without batch statistics, the average is
    exactly the full gradient. With batch statistics it is not, because the statistics of a small
    batch depend on the sample that they normalize. The full gradient takes *x* as one batch; for
    online normalization it uses the moments that the running moments estimate.

    All modules except the normalizers are in evaluation mode, and *model* is not changed.

    Args:
        model: any torch model.
        loss: function of output and target, a mean over the samples.
        x: samples; those that do not fill a whole batch are left out.
        y: the samples' targets.
        batch_size: the number of samples in one call of the model.
        passes: the number of passes over the samples that are averaged.
        warm_up: the number of passes before them, in which running statistics settle.
        seed: seed of the division into batches.

    Raises:
        InvalidSpec: there are fewer than two batches, there is no pass, or the gradient is zero.

    Source:
        Chiley et al., "Online Normalization for Training Neural Networks", NeurIPS 2019,
        arXiv:1905.05894, the section on gradient bias; we compare gradients of parameters.
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
