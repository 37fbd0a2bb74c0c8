"""The order of an epoch and its random changes: functions of the seed and the epoch alone."""

from __future__ import annotations

import hashlib
import itertools
from typing import Callable, Iterator, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.data.training_data import TrainingData
from normlab.specs.optimization import AugmentationSpec


class EpochBatches:
    """
    The updates' samples of one epoch.

    Every epoch has a permutation of its own, drawn from *seed* and *epoch*, and so have the
    shifts and flips of its images: update i does not depend on the updates before it, so a
    resumed training continues exactly. The samples that do not fill a whole update are
    left out; which ones differs from epoch to epoch.

    Args:
        data: the dataset.
        samples_per_update: the number of samples in one update.
        place: moves the order to the device of the samples.
        rows: the indices of the wanted samples in an update; None: all.
        updates: of the whole training, after which nothing is read ahead; None: not known.
    """

    def __init__(
        self,
        data: TrainingData,
        samples_per_update: int,
        augmentation: AugmentationSpec,
        seed: int,
        epoch: int,
        place: Callable[[Tensor], Tensor] = lambda x: x,
        rows: Optional[Tensor] = None,
        updates: Optional[int] = None,
    ) -> None:
        self._data = data
        self._rows = None if rows is None else place(rows)
        self._size = samples_per_update
        self._seed = seed
        self._epoch = epoch
        self._updates = updates
        n = data.train_size
        g = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        self._order = place(torch.randperm(n, generator=g))
        self._crop = augmentation.crop
        self._shifts: Optional[Tensor] = None
        self._flips: Optional[Tensor] = None
        if augmentation.crop:
            self._shifts = place(torch.randint(2 * self._crop + 1, (n, 2), generator=g))
        if augmentation.flip:
            self._flips = place(torch.rand(n, generator=g) < 0.5)

    def __len__(self) -> int:
        return self._data.train_size // self._size

    def __getitem__(self, i: int) -> Tuple[Tensor, Tensor]:
        """Return the samples (n, C, H, W) and classes (n,) of update *i* of the epoch."""
        begin = i * self._size
        every = slice(begin, begin + self._size)
        part = every if self._rows is None else self._rows + begin
        x, y = self._data.take(
            self._order[part], self._epoch * len(self) + i, lambda: self._upcoming(i)
        )
        if self._shifts is not None:
            x = crop(x, self._shifts[part], self._crop)
        if self._flips is not None:
            x = flip(x, self._flips[part])
        return x, y

    def _upcoming(self, i: int) -> Iterator[Tuple[int, List[int]]]:
        rows = torch.arange(self._size) if self._rows is None else self._rows.cpu()
        for epoch in itertools.count(self._epoch):
            g = torch.Generator().manual_seed(epoch_seed(self._seed, epoch))
            order = torch.randperm(self._data.train_size, generator=g)
            for number in range(i, len(self)):
                if epoch * len(self) + number == self._updates:
                    return
                yield epoch * len(self) + number, order[rows + number * self._size].tolist()
            i = 0


def epoch_seed(seed: int, epoch: int) -> int:
    """Mix *seed* and *epoch* into a seed for a generator."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits on every version


def crop(x: Tensor, shifts: Tensor, pad: int) -> Tensor:
    """Pad *x* (N, C, H, W) by *pad* zeros on each side and cut (H, W) out at *shifts* (N, 2)."""
    n, _, h, w = x.shape
    padded = F.pad(x, (pad, pad, pad, pad))
    rows = shifts[:, 0, None] + torch.arange(h, device=x.device)  # (N, H)
    columns = shifts[:, 1, None] + torch.arange(w, device=x.device)  # (N, W)
    sample = torch.arange(n, device=x.device).view(n, 1, 1)
    cut = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).contiguous()


def flip(x: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the *chosen* (N,) images left to right."""
    return torch.where(chosen.view(-1, 1, 1, 1), x.flip(3), x)
