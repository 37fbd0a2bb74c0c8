"""A dataset as tensors in memory, independent of its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

import torch
from torch import Tensor

from normlab.data.moments import (
    Moments,
    by_sample,
    byte_counts,
    of_counts,
    of_samples,
    shift_and_scale,
)
from normlab.data.raw import Raw
from normlab.data.training_data import Upcoming
from normlab.errors import DatasetUnusable, NotFound
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec
from normlab.specs.registries import named_object


@dataclass(frozen=True)
class Split:
    """
    Samples and their classes.

    Args:
        x: images (N, C, H, W), either standardized in float32 or bytes, which `Data.standardize`
            converts; or sequences (N, C, T) in float32.
        y: int64, one class per sample (N,), or one per position, (N, H, W) or (N, T).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: Optional[int]) -> Split:
        """Return the first *n* samples, or all if *n* is None."""
        return self if n is None else Split(self.x[:n], self.y[:n])


@dataclass(frozen=True)
class Data:
    """
    A dataset in memory.

    Args:
        shift, scale: (1, C, 1, 1), mean and reciprocal deviation of each channel of the
            training images; None if x is already standardized.
        moments: mean and deviation of the channels before x was standardized; None if x is not.
        broken: one message for each sample that could not be read and was left out.
        loading: a text on how the data are read and why.
    """

    train: Split
    test: Split
    num_classes: int
    shift: Optional[Tensor] = None
    scale: Optional[Tensor] = None
    moments: Optional[Tuple[Tensor, Tensor]] = None
    broken: Tuple[str, ...] = ()
    loading: str = "in memory"

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
        return self.train.x.shape[1]

    @property
    def image_size(self) -> int:
        """Return the side of an image, or the length of a sequence."""
        return self.train.x.shape[2]

    def standardize(self, x: Tensor) -> Tensor:
        """Return a batch as float32 with mean 0 and deviation 1 over the training set."""
        if self.shift is None or self.scale is None:
            return x
        return (x.float() - self.shift) * self.scale

    def take(self, index: Tensor, number: int, upcoming: Upcoming) -> Tuple[Tensor, Tensor]:
        """Return the training samples at *index*, standardized."""
        return self.standardize(self.train.x[index]), self.train.y[index]

    def first(self, split: str, n: int) -> Tuple[Tensor, Tensor]:
        """Return the first *n* samples of "train" or "test", standardized."""
        part = self.train if split == "train" else self.test
        return self.standardize(part.x[:n]), part.y[:n]

    def test_batches(self, size: int) -> Iterator[Tuple[Tensor, Tensor]]:
        """Yield the test set in batches of *size*, standardized."""
        for x, y in zip(torch.split(self.test.x, size), torch.split(self.test.y, size)):
            yield self.standardize(x), y

    def placed(self, place: Callable[[Tensor], Tensor]) -> Data:
        """Return the same data with *place* applied to its tensors."""
        shift, scale, moments = self.shift, self.scale, self.moments
        return replace(
            self,
            train=Split(place(self.train.x), place(self.train.y)),
            test=Split(place(self.test.x), place(self.test.y)),
            shift=None if shift is None else place(shift),
            scale=None if scale is None else place(scale),
            moments=None if moments is None else (place(moments[0]), place(moments[1])),
        )


def load(spec: DatasetSpec, data_root: Path) -> Data:
    """
    Load a dataset into memory.

    Pictures from files stay bytes until `Data.standardize`, which takes a quarter of the memory.

    Args:
        spec: the dataset, and its number of samples.
        data_root: the operator's folder of datasets.

    Raises:
        NotFound: no dataset has this name.
        DatasetUnusable: files are missing, truncated or of another format; the message names
            the file, what was expected and what was found.
    """
    if spec.name not in DATASETS:
        raise NotFound(f"there is no dataset {spec.name!r}; use one of {', '.join(DATASETS)}")
    raw: Raw = named_object(DATASETS[spec.name].loader)(spec, data_root)
    for name, y in (("train", raw.train_y), ("test", raw.test_y)):
        if (
            len(y)
            and not y.is_floating_point()
            and not 0 <= int(y.min()) <= int(y.max()) < raw.num_classes
        ):
            wrong = ((y < 0) | (y >= raw.num_classes)).flatten(1 if y.dim() > 1 else 0)
            first = int((wrong if y.dim() == 1 else wrong.any(1)).nonzero()[0])
            raise DatasetUnusable(
                f"{spec.name}: {name} labels from {int(y.min())} to {int(y.max())}, "
                f"expected 0 to {raw.num_classes - 1}; sample {first} is the first outside"
            )
    return replace(_standardized(raw, spec), broken=raw.broken)


def _standardized(raw: Raw, spec: DatasetSpec) -> Data:
    train, test = Split(raw.train_x, raw.train_y), Split(raw.test_x, raw.test_y)
    if not raw.standardize:
        return Data(train.first(spec.train_size), test.first(spec.test_size), raw.num_classes)
    shift, scale = shift_and_scale(_moments(raw.train_x), raw.train_x.dim())
    if raw.train_x.dtype == torch.float32:
        train = Split((train.x - shift).mul_(scale), train.y)
        test = Split((test.x - shift).mul_(scale), test.y)
        train, test = train.first(spec.train_size), test.first(spec.test_size)
        return Data(train, test, raw.num_classes, moments=(shift, 1 / scale))
    train, test = train.first(spec.train_size), test.first(spec.test_size)
    return Data(train, test, raw.num_classes, shift, scale)


def _moments(x: Tensor) -> Moments:
    if x.dtype == torch.uint8:
        return of_counts(byte_counts(x))
    return of_samples(by_sample(x), x[0, 0].numel())
