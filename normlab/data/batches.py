"""The order and the augmentations of an epoch, both functions of the seed and the epoch alone."""

from __future__ import annotations

import itertools
from typing import Callable, Iterator, List, Optional, Tuple

import torch
from torch import Tensor

from normlab.data.augmenting import Augmenting, EpochAugmentation, mixed_seed
from normlab.data.training_data import TrainingData


class EpochBatches:
    """
    The samples of each update of one epoch.

    Every epoch has its own permutation and its own augmentations, drawn from *seed* and *epoch*.
    Update i does not depend on the updates before it, so a resumed training continues exactly.
    Samples that do not fill a whole update are left out; they differ from epoch to epoch.

    Args:
        data: the dataset.
        samples_per_update: the number of samples in one update.
        place: moves the order to the device of the samples.
        rows: the indices of the wanted samples in an update; None for all.
        updates: the number of updates of the whole training, after which nothing is read ahead;
            None if it is not known.
    """

    def __init__(
        self,
        data: TrainingData,
        samples_per_update: int,
        augmenting: Augmenting,
        seed: int,
        epoch: int,
        place: Callable[[Tensor], Tensor] = lambda x: x,
        rows: Optional[Tensor] = None,
        updates: Optional[int] = None,
    ) -> None:
        self._data = data
        self._host_rows = rows
        self._rows = None if rows is None else place(rows)
        self._size = samples_per_update
        self._seed = seed
        self._epoch = epoch
        self._updates = updates
        n = data.train_size
        g = torch.Generator().manual_seed(mixed_seed(seed, epoch))
        self._order = place(torch.randperm(n, generator=g))
        self._augment = EpochAugmentation(augmenting, n, data.num_classes, seed, epoch, g, place)

    def __len__(self) -> int:
        return self._data.train_size // self._size

    def __getitem__(self, i: int) -> Tuple[Tensor, Tensor]:
        """
        Return the samples (n, C, H, W) and classes (n,) of update *i* of the epoch.

        Where samples are mixed, their targets are probabilities of the classes, (n, K).
        """
        begin = i * self._size
        every = slice(begin, begin + self._size)
        part = every if self._rows is None else self._rows + begin
        host = every if self._host_rows is None else self._host_rows + begin
        x, y = self._data.take(
            self._order[part], self._epoch * len(self) + i, lambda: self._upcoming(i)
        )
        return self._augment(x, y, part, host)

    def _upcoming(self, i: int) -> Iterator[Tuple[int, List[int]]]:
        rows = torch.arange(self._size) if self._host_rows is None else self._host_rows
        for epoch in itertools.count(self._epoch):
            g = torch.Generator().manual_seed(mixed_seed(self._seed, epoch))
            order = torch.randperm(self._data.train_size, generator=g)
            for number in range(i, len(self)):
                if epoch * len(self) + number == self._updates:
                    return
                yield epoch * len(self) + number, order[rows + number * self._size].tolist()
            i = 0
