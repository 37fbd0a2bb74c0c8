"""A dataset that is read during the training, in the order in which the training takes samples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Iterator, Optional, Tuple

import torch
from torch import Tensor

from normlab.data.sources import SampleSource
from normlab.data.training_data import Batch, Upcoming
from normlab.data.workers import Readers, batches_of


@dataclass
class _Place:
    """The position of a stream of updates."""

    readers: Optional[Readers] = None
    answers: Optional[Iterator[Tuple[int, Any]]] = None
    number: int = -1  # the update that was read last
    batch: Any = None


@dataclass(frozen=True)
class Stream:
    """
    A dataset that keeps in memory only the batches that are read ahead.

    The last update can be taken again, and the next one has been read ahead. Taking any other
    update begins a new stream there, so that a resumed training needs no state of its readers.

    Args:
        shift, scale: per channel, as for `Data`; None if samples are not to be standardized.
        workers: the number of processes for training; during a test there are as many more.
        prefetch: the number of updates that each process reads ahead.
    """

    train: SampleSource
    test: SampleSource
    num_classes: int
    workers: int
    prefetch: int
    shift: Optional[Tensor] = None
    scale: Optional[Tensor] = None
    broken: Tuple[str, ...] = ()
    loading: str = "streamed"
    place: Callable[[Tensor], Tensor] = lambda x: x
    _at: _Place = field(default_factory=_Place)

    @property
    def train_size(self) -> int:
        """Return the number of training samples."""
        return len(self.train)

    @property
    def test_size(self) -> int:
        """Return the number of test samples."""
        return len(self.test)

    @property
    def channels(self) -> int:
        """Return C."""
        return self.train.shape[0]

    @property
    def image_size(self) -> int:
        """Return the side of an image, or the length of a sequence."""
        return self.train.shape[1]

    def placed(self, place: Callable[[Tensor], Tensor]) -> Stream:
        """Return the same stream, with *place* applied to each batch."""
        shift, scale = self.shift, self.scale
        return replace(
            self,
            place=place,
            shift=None if shift is None else place(shift),
            scale=None if scale is None else place(scale),
        )

    def take(self, index: Tensor, number: int, upcoming: Upcoming) -> Batch:
        """Return the standardized samples of update *number*, the first one of *upcoming*."""
        at = self._at
        if at.answers is None or number not in (at.number, at.number + 1):
            at.answers = self._readers().answers(upcoming())
            at.number = number - 1
        if number != at.number:
            at.number, at.batch = next(at.answers)
        return self._given(at.batch)

    def _readers(self) -> Readers:
        if self._at.readers is None:
            self._at.readers = Readers(self.train.read, self.workers, self.prefetch, self._pins())
        return self._at.readers

    def first(self, split: str, n: int) -> Batch:
        """Read the first *n* samples of "train" or "test" in this process, and standardize them."""
        source = self.train if split == "train" else self.test
        return self._given(source.read(list(range(min(n, len(source))))))

    def test_batches(self, size: int) -> Iterator[Batch]:
        """Yield the test set in batches of *size*, standardized."""
        readers = Readers(self.test.read, self.workers, self.prefetch, self._pins())
        try:
            for _, batch in readers.answers(batches_of(self.test, size)):
                yield self._given(batch)
        finally:
            readers.close()

    def close(self) -> None:
        """End the readers."""
        self._at.answers = None
        if self._at.readers is not None:
            self._at.readers.close()

    def standardize(self, x: Tensor) -> Tensor:
        """Return a batch as float32 with mean 0 and deviation 1 over the training set."""
        if self.shift is None or self.scale is None:
            return x
        return (x.float() - self.shift) * self.scale

    def _given(self, batch: Batch) -> Batch:
        x, y = batch
        return self.standardize(self.place(x)), self.place(y)

    def _pins(self) -> bool:
        return self.place(torch.empty(0)).device.type == "cuda"
