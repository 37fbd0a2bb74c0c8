"""Samples in files, of which a few at a time are read and decoded."""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Protocol

from normlab.errors import DatasetUnusable
from normlab.stored.arrays import Records
from normlab.stored.decoding import decoded
from normlab.stored.table import SampleTable


class SampleSource(Protocol):
    """The samples of one split; each worker process has a copy of this object."""

    shape: Tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of samples."""

    def read(self, samples: List[int]) -> Tuple[Tensor, Tensor]:
        """
        Read and decode *samples*.

        Raises:
            DatasetUnusable: a sample cannot be read.
        """


class Pictures:
    """
    Encoded pictures, as bytes (3, size, size).

    Args:
        size: side of a picture after resizing, in pixels.
    """

    def __init__(self, table: SampleTable, size: int) -> None:
        self.table = table
        self.shape: Tuple[int, ...] = (3, size, size)

    def __len__(self) -> int:
        return len(self.table)

    def read(self, samples: List[int]) -> Tuple[Tensor, Tensor]:
        """Decode the pictures *samples*."""
        x = np.empty((len(samples), *self.shape), np.uint8)
        for row, i in enumerate(samples):
            x[row] = self.picture(i)
        return torch.from_numpy(x), torch.from_numpy(self.table.labels[samples])

    def picture(self, i: int) -> np.ndarray[Any, Any]:
        """Decode one picture."""
        name = str(self.table.root / self.table.name(i))
        return decoded(self.table.read(i), self.shape[1], name)


class Rows:
    """
    Rows of two arrays in a file.

    Args:
        name: the file's name, for messages.
        count: the number of samples, counted from the first.
    """

    def __init__(self, name: str, x: Records, y: Records, count: int) -> None:
        self._name = name
        self._x, self._y = x, y
        self._count = min(count, len(x))
        self.shape = x.shape
        self.bytes_stay = np.dtype(x.dtype) == np.uint8 and len(x.shape) == 3

    def __len__(self) -> int:
        return self._count

    def read(self, samples: List[int]) -> Tuple[Tensor, Tensor]:
        """Read the rows *samples*; images of bytes stay bytes, as in memory."""
        x = torch.from_numpy(np.stack([self._x.read(i) for i in samples]))
        y = torch.from_numpy(np.stack([self._y.read(i) for i in samples]).astype(np.int64))
        if self.bytes_stay:
            return x, y
        x = x.float()
        wrong = ~torch.isfinite(x).flatten(1).all(1)
        if bool(wrong.any()):
            first = samples[int(wrong.nonzero()[0])]
            raise DatasetUnusable(
                f"{self._name}: sample {first} has NaN or infinity; replace these values"
            )
        return x, y
