"""Mix samples, and their targets, with other samples of the micro-batch."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import torch
from torch import Generator, Tensor

from normlab.data.augmentations.framing import inside


class Mixing:
    """
    Mix each sample of a micro-batch with the one before it, by mixup or by CutMix.

    mixup: x <- s x + (1 - s) x', with s from Beta(alpha, alpha). CutMix: a rectangle of x' replaces
    the same rectangle of x. Its area is 1 - s before it is cut off at the edges; afterwards s is
    set to the share of x that is left. Targets: y <- s y + (1 - s) y'. All samples of a micro-batch
    have the same s, the one drawn for the first sample.

    Args:
        mixup_alpha, cutmix_alpha: parameters of the Beta distributions.
        cutmix_share: probability of CutMix, where both are used.
        probability: probability that a micro-batch is mixed at all.

    Source:
        Zhang et al., "mixup", arXiv:1710.09412; Yun et al., "CutMix", arXiv:1905.04899. Like timm
        and torchvision, we choose one of the two for a whole batch.
    """

    on_host = True  # the drawn numbers decide which operations run

    def __init__(
        self, mixup_alpha: float, cutmix_alpha: float, cutmix_share: float, probability: float
    ) -> None:
        self._alphas = (mixup_alpha, cutmix_alpha)
        self._cutmix_share = cutmix_share
        self._probability = probability

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return (n, 6): whether to mix, which method, both shares, and the rectangle's center."""
        u = torch.rand(n, 4, generator=generator)
        seed = int(torch.randint(2**31, (), generator=generator))
        random = np.random.RandomState(seed)  # torch cannot draw from Beta with a generator
        shares = [torch.from_numpy(random.beta(a, a, n)).float() for a in self._alphas]
        return torch.cat([u[:, :2], torch.stack(shares, dim=1), u[:, 2:]], dim=1)

    def __call__(self, x: Tensor, y: Tensor, drawn: Tensor) -> Tuple[Tensor, Tensor]:
        """Mix *x* (N, C, H, W) and *y* (N, K), which are one micro-batch."""
        mixes, which, mixup_share, cutmix_share, down, across = drawn[0].tolist()
        if mixes >= self._probability:
            return x, y
        if which < self._cutmix_share:
            return _cut(x, y, cutmix_share, down, across)
        return torch.lerp(x.roll(1, 0), x, mixup_share), torch.lerp(y.roll(1, 0), y, mixup_share)


def _cut(x: Tensor, y: Tensor, share: float, down: float, across: float) -> Tuple[Tensor, Tensor]:
    rows = _within(x.shape[2], down, share)
    columns = _within(x.shape[3], across, share)
    mask = rows[:, None] & columns[None, :]
    left = 1 - float(mask.float().mean())
    mixed = torch.where(mask.to(x.device), x.roll(1, 0), x)
    return mixed, torch.lerp(y.roll(1, 0), y, left)


def _within(pixels: int, center: float, share: float) -> Tensor:
    side = torch.tensor(1 - share).sqrt()
    return inside((torch.arange(pixels) + 0.5) / pixels, center - side / 2, side)


def mixup(alpha: float, probability: float) -> Mixing:
    """Return a `Mixing` that uses mixup alone."""
    return Mixing(alpha, 1.0, 0.0, probability)


def cutmix(alpha: float, probability: float) -> Mixing:
    """Return a `Mixing` that uses CutMix alone."""
    return Mixing(1.0, alpha, 1.0, probability)
