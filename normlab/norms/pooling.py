"""Statistics of unions: merge the moments of (sample, channel) pairs over a dimension.

The variance of a union is the mean of the variances plus the variance of the means. We always use
this centred form, because mean(x^2) - mean(x)^2 loses all digits in float32 if |mean| >> std.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor


def pool(mean: Tensor, var: Tensor, dim: int) -> Tuple[Tensor, Tensor]:
    """Merge the moments along *dim*, which is kept with size 1."""
    if mean.shape[dim] == 1:
        return mean, var
    pooled = mean.mean(dim, keepdim=True)
    centred = mean - pooled
    return pooled, torch.addcmul(var, centred, centred).mean(dim, keepdim=True)


def pool_batch(
    mean: Tensor, var: Tensor, virtual_batch_size: Optional[int] = None
) -> Tuple[Tensor, Tensor]:
    """
    Merge over all samples, or over groups of *virtual_batch_size*; the last group may be smaller.

    Shape:
        (N, C), (N, C) -> (1, C) twice, or (N, C) twice with virtual batches
    """
    n = mean.shape[0]
    if virtual_batch_size is None or virtual_batch_size >= n:
        return pool(mean, var, 0)
    whole = n - n % virtual_batch_size
    parts = [_pool_groups(mean[:whole], var[:whole], virtual_batch_size)]
    if whole < n:
        parts.append(_pool_groups(mean[whole:], var[whole:], n - whole))
    if len(parts) == 1:
        return parts[0]
    return torch.cat([m for m, _ in parts]), torch.cat([v for _, v in parts])


def _pool_groups(mean: Tensor, var: Tensor, size: int) -> Tuple[Tensor, Tensor]:
    shape = (-1, size, mean.shape[1])
    m, v = pool(mean.view(shape), var.view(shape), 1)
    return (
        m.expand(-1, size, -1).reshape(mean.shape),
        v.expand(-1, size, -1).reshape(var.shape),
    )


def samples_sharing(mean: Tensor, virtual_batch_size: Optional[int]) -> Any:
    """
    Return how many samples share each sample's statistics: a number, or (N, 1) if groups differ.

    Args:
        mean: (N, C) before `pool_batch`.
        virtual_batch_size: as in `pool_batch`.
    """
    n = mean.shape[0]
    size = min(n, virtual_batch_size or n)
    rest = n % size
    if rest == 0:
        return size
    return torch.cat([mean.new_full((n - rest, 1), size), mean.new_full((rest, 1), rest)])


def bessel(count: Any) -> Any:
    """Return n / (n - 1), which makes a variance over n = *count* values unbiased."""
    return count / (count - 1)


def smallest_group(samples: int, virtual_batch_size: Optional[int]) -> int:
    """Return the number of samples in the smallest group that `pool_batch` merges."""
    if virtual_batch_size is None or virtual_batch_size >= samples:
        return samples
    return samples % virtual_batch_size or virtual_batch_size
