"""Mean and deviation of each channel of images, added up from parts of the images."""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor

Moments = Tuple[Tensor, Tensor]
"""Mean and deviation of each channel: (C,) and (C,), float32."""


def byte_counts(x: Tensor) -> Tensor:
    """
    Count how often each byte occurs in each channel; the counts of parts can be added.

    Shape:
        (N, C, H, W), uint8 -> (C, 256), int64
    """
    channels = (x[:, i].flatten() for i in range(x.shape[1]))
    return torch.stack([torch.bincount(channel, minlength=256) for channel in channels])


def of_counts(counts: Tensor) -> Moments:
    """Return the moments of bytes exactly, without converting images to floats."""
    share = counts.double() / counts.sum(dim=1, keepdim=True)  # (C, 256)
    value = torch.arange(256, dtype=torch.float64)
    mean = (share * value).sum(dim=1)
    deviation = (share * (value - mean[:, None]).square()).sum(dim=1).sqrt()
    return mean.float(), deviation.float()


def by_sample(x: Tensor) -> Tensor:
    """
    Return the mean and the L2 norm of each channel of each sample, in one pass.

    Shape:
        (N, C, ...), float32 -> (N, C, 2), float32
    """
    positions = tuple(range(2, x.dim()))
    length = torch.linalg.vector_norm(x, dim=positions)
    return torch.stack([x.mean(dim=positions), length], dim=2)


def of_samples(found: Tensor, positions: int) -> Moments:
    """
    Return the moments of floats; sums over the samples are in float64.

    Args:
        found: the result of `by_sample`, (N, C, 2).
        positions: the number of positions of a channel in a sample.
    """
    mean, length = (part.contiguous().double() for part in found.unbind(2))
    square = length.square().mean(dim=0) / positions
    mean = mean.mean(dim=0)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return mean.float(), deviation.float()


def shift_and_scale(moments: Moments, dims: int) -> Tuple[Tensor, Tensor]:
    """Return mean and reciprocal deviation, shaped for samples of *dims* dimensions."""
    mean, deviation = (part.view(1, -1, *(1,) * (dims - 2)) for part in moments)
    return mean, 1 / deviation.clamp(min=1e-6)
