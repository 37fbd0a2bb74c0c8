"""The interface through which a training reads its data, in memory or as a stream."""

from __future__ import annotations

from typing import Callable, Iterator, List, Tuple

from torch import Tensor
from typing_extensions import Protocol

Upcoming = Callable[[], Iterator[Tuple[int, List[int]]]]
"""Yields this update and all later ones, also of later epochs: the number and the samples."""

Batch = Tuple[Tensor, Tensor]
"""Samples (N, ...) and their classes."""


class TrainingData(Protocol):
    """
    A dataset in memory, or a stream of it.

    Attributes:
        shift, scale: per channel, as `standardize` uses them.
        broken: one message for each sample that could not be read and was left out.
        loading: a text on how the data are read and why.
    """

    @property
    def train_size(self) -> int:
        """Return the number of training samples."""

    @property
    def test_size(self) -> int:
        """Return the number of test samples."""

    @property
    def num_classes(self) -> int:
        """Return K."""

    @property
    def channels(self) -> int:
        """Return C."""

    @property
    def image_size(self) -> int:
        """Return the side of an image, or the length of a sequence."""

    @property
    def broken(self) -> Tuple[str, ...]:
        """Return one message for each sample that was left out."""

    @property
    def loading(self) -> str:
        """Return a text on how the data are read."""

    def placed(self, place: Callable[[Tensor], Tensor]) -> TrainingData:
        """Return the same data, with *place* applied to the samples that they give."""

    def take(self, index: Tensor, number: int, upcoming: Upcoming) -> Batch:
        """
        Return the training samples at *index*, standardized.

        Args:
            number: the update's number, counted from 0 over all epochs.
            upcoming: this update and the later ones, so that a stream can read ahead.
        """

    def first(self, split: str, n: int) -> Batch:
        """Return the first *n* samples of "train" or "test", standardized."""

    def test_batches(self, size: int) -> Iterator[Batch]:
        """Yield the test set in batches of *size*, standardized."""
