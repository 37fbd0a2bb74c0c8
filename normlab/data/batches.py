"""The order of an epoch and its random changes: functions of the seed and the epoch alone."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import torch
from torch import Tensor

from normlab.data.augmenting import Augmenting, EpochAugmentation, mixed_seed
from normlab.data.datasets import Data


class EpochBatches:
    """
    The updates' samples of one epoch.

    Every epoch has a permutation of its own, drawn from *seed* and *epoch*, and so have the
    random changes of its samples: update i does not depend on the updates before it, so a
    resumed training continues exactly. The samples that do not fill a whole update are
    left out; which ones differs from epoch to epoch.

    Args:
        data: the dataset.
        samples_per_update: the number of samples in one update.
        place: moves the order to the device of the samples.
        rows: the indices of the wanted samples in an update; None: all.
    """

    def __init__(
        self,
        data: Data,
        samples_per_update: int,
        augmenting: Augmenting,
        seed: int,
        epoch: int,
        place: Callable[[Tensor], Tensor] = lambda x: x,
        rows: Optional[Tensor] = None,
    ) -> None:
        self._data = data
        self._host_rows = rows
        self._rows = None if rows is None else place(rows)
        self._size = samples_per_update
        n = len(data.train)
        g = torch.Generator().manual_seed(mixed_seed(seed, epoch))
        self._order = place(torch.randperm(n, generator=g))
        self._augment = EpochAugmentation(augmenting, n, data.num_classes, seed, epoch, g, place)

    def __len__(self) -> int:
        return len(self._data.train) // self._size

    def __getitem__(self, i: int) -> Tuple[Tensor, Tensor]:
        """
        Return the samples (n, C, H, W) and classes (n,) of update *i* of the epoch.

        Where samples are mixed, their targets are probabilities of the classes, (n, K).
        """
        begin = i * self._size
        every = slice(begin, begin + self._size)
        part = every if self._rows is None else self._rows + begin
        index = self._order[part]
        x = self._data.standardize(self._data.train.x[index])
        host = every if self._host_rows is None else self._host_rows + begin
        return self._augment(x, self._data.train.y[index], part, host)
