"""What a training needs of its data, wherever they lie."""

from __future__ import annotations

from typing import Callable, Iterator, List, Tuple

from torch import Tensor
from typing_extensions import Protocol

Upcoming = Callable[[], Iterator[Tuple[int, List[int]]]]
"""Lists this update and all after it, over the ends of epochs: its number, and its samples."""

Batch = Tuple[Tensor, Tensor]
"""Samples (N, ...) and their classes."""


class TrainingData(Protocol):
    """
    A dataset in memory, or a stream of it.

    Attributes:
        shift, scale: of each channel, as `standardize` uses them.
        broken: what could not be read and was left out; a message for each.
        loading: how it is read and why, for people.
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
        """Return what was left out."""

    @property
    def loading(self) -> str:
        """Return how the data are read."""

    def placed(self, place: Callable[[Tensor], Tensor]) -> TrainingData:
        """Return the same data, which give samples to which *place* was applied."""

    def take(self, index: Tensor, number: int, upcoming: Upcoming) -> Batch:
        """
        Return the training samples at *index*, standardized.

        Args:
            number: of the update, from 0 on over all epochs.
            upcoming: begins with this update, so that a stream knows what to read ahead.
        """

    def first(self, split: str, n: int) -> Batch:
        """Return the first *n* samples of "train" or "test", standardized."""

    def test_batches(self, size: int) -> Iterator[Batch]:
        """Yield the test set in batches of *size*, standardized."""
