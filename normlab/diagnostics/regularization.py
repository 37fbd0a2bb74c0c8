"""Regularization strength: the rise of the loss by the noise of batch statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Sequence, Union

import torch
from torch import Tensor, nn

from normlab.diagnostics.full_statistics import (
    full_statistics_replica,
    join_virtual_batches,
    normalizing_replica,
)
from normlab.diagnostics.moment import Loss
from normlab.errors import InvalidSpec


@dataclass(frozen=True)
class Regularization:
    """
    The rise of the loss at each batch size M, and the line rise = intercept + slope / M.

    Args:
        batch_sizes: the sizes M.
        rises: mean loss over batches, minus the loss with population statistics.
        slope: slope of the least-squares line against 1 / M, the strength at M = 1.
        intercept: intercept of that line; 0 if the strength is inversely proportional to M.
        fit: R squared, the share of the rises' variance that the line explains.
    """

    batch_sizes: List[int]
    rises: List[float]
    slope: float
    intercept: float
    fit: float

    @property
    def exponent(self) -> Union[float, None]:
        """Return the slope of log rise against log M; None unless all rises are positive."""
        if min(self.rises) <= 0:
            return None
        logs = [math.log(m) for m in self.batch_sizes], [math.log(r) for r in self.rises]
        return _line(*logs)[0]


def measure_regularization(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    batch_sizes: Sequence[int] = (4, 8, 16, 32),
    passes: int = 2,
    seed: int = 0,
) -> Regularization:
    """
    Measure by how much the noise of batch statistics raises the loss, and regress it on 1 / M.

    The same samples are divided into batches of each size. Population statistics are those of all
    of *x*. No formula of the strength is assumed. All modules except the normalizers are in
    evaluation mode, there are no virtual batches, and *model* is not changed.

    Args:
        model: any torch model with normalizers that need the batch.
        loss: function of output and target, a mean over the samples.
        x: samples, which are the population; batches leave out a rest that fills no whole batch.
        y: the samples' targets.
        batch_sizes: two or more sizes M.
        passes: the number of passes over the samples at each size.
        seed: seed of the division into batches.

    Raises:
        InvalidSpec: there are fewer than two different sizes, no pass, or too few samples for
            two batches of the largest size.

    Source:
        Luo et al., "Towards Understanding Regularization in Batch Normalization", ICLR 2019,
        arXiv:1809.00846, where the strength is inversely proportional to the batch size. We
        measure it instead.
    """
    sizes = sorted(set(batch_sizes))
    if len(sizes) < 2 or sizes[0] < 1 or passes < 1 or len(x) < 2 * sizes[-1]:
        raise InvalidSpec(
            f"batch sizes {list(batch_sizes)}, {passes=}, {len(x)} samples: needs two different "
            "sizes, a pass, and two batches of the largest size"
        )
    with torch.no_grad():
        with full_statistics_replica(model) as whole:
            population = float(loss(whole(x), y))
        rises = [_mean_loss(model, loss, x, y, m, passes, seed) - population for m in sizes]
    slope, intercept, fit = _line([1 / m for m in sizes], rises)
    return Regularization(sizes, rises, slope, intercept, fit)


def _mean_loss(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, size: int, passes: int, seed: int
) -> float:
    generator = torch.Generator().manual_seed(seed)
    losses: List[float] = []
    with normalizing_replica(model) as twin:
        join_virtual_batches(twin)
        for _ in range(passes):
            for index in torch.split(torch.randperm(len(x), generator=generator), size):
                if len(index) == size:
                    losses.append(float(loss(twin(x[index]), y[index])))
    return sum(losses) / len(losses)


def _line(x: Sequence[float], y: Sequence[float]) -> List[float]:
    """Return slope, intercept and R squared of the least-squares line."""
    n = len(x)
    x_mean, y_mean = sum(x) / n, sum(y) / n
    xx = sum((a - x_mean) ** 2 for a in x)
    xy = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y))
    yy = sum((b - y_mean) ** 2 for b in y)
    return [xy / xx, y_mean - xy / xx * x_mean, xy**2 / (xx * yy) if yy > 0 else 1.0]
