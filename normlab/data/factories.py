"""Read a user's own dataset from its factory into memory, and check every sample."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from normlab.data.raw import Raw
from normlab.errors import DatasetUnusable
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec
from normlab.specs.registries import named_object
from normlab.specs.tasks import TASKS, Shape, TaskFacts, fits, written


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """
    Call the factory of *spec*'s dataset for each split, and read all samples that it returns.

    Raises:
        DatasetUnusable: a sample is not as declared; the message has its index.
    """
    facts = DATASETS[spec.name]
    classes, size = facts.num_classes, facts.image_size
    if classes is None or size is None or facts.channels is None:
        raise DatasetUnusable(f"{facts.name}: declare num_classes, channels and image_size")
    task = TASKS[facts.task]
    x_shape = task.input_shape(facts.channels, size)
    y_shape = task.target_shape(facts.channels, size)
    train, test = (
        _SampleReader(f"{facts.name}: {split}", x_shape, y_shape, task).read(
            _samples(facts, spec, split, data_root)
        )
        for split in ("train", "test")
    )
    if task.check:
        for split, (_, y) in (("train", train), ("test", test)):
            named_object(task.check)(f"{facts.name}: {split}", y, classes)
    return Raw(*train, *test, num_classes=classes, standardize=facts.standardize)


def _samples(facts: DatasetFacts, spec: DatasetSpec, split: str, data_root: Path) -> Iterator[Any]:
    factory = named_object(facts.factory)
    takes = inspect.signature(factory).parameters
    root = {"data_root": data_root} if "data_root" in takes else {}
    given = factory(split=split, **root, **spec.options)
    if hasattr(given, "__len__") and hasattr(given, "__getitem__"):
        return (given[i] for i in range(len(given)))
    if hasattr(given, "__iter__"):
        return iter(given)
    raise DatasetUnusable(
        f"{facts.name}: its factory returned {type(given).__name__} for {split}; it must return an "
        "object with __len__ and __getitem__, or an iterable of (x, y)"
    )


class _SampleReader:
    """
    Reads samples one after another, and refuses the first one that differs from the others.

    Args:
        name: name of the dataset and its split, for messages.
        x_shape, y_shape: declared shapes of each sample.
        task: the task, which says what targets are.
    """

    def __init__(self, name: str, x_shape: Shape, y_shape: Shape, task: TaskFacts) -> None:
        self._name = name
        self._x_shape = x_shape
        self._y_shape = y_shape
        self._task = task
        self._dtype: Optional[torch.dtype] = None

    def read(self, samples: Iterator[Any]) -> Tuple[Tensor, Tensor]:
        """Return all of *samples*: x, and y."""
        xs: List[Tensor] = []
        ys: List[Tensor] = []
        for i, sample in enumerate(samples):
            x, y = self._pair(i, sample)
            xs.append(self._x(i, x))
            ys.append(self._y(i, y))
        if not xs:
            raise DatasetUnusable(f"{self._name} has no samples")
        return torch.stack(xs), torch.stack(ys)

    def _pair(self, i: int, sample: Any) -> Tuple[Any, Any]:
        if isinstance(sample, (tuple, list)) and len(sample) == 2:
            return sample[0], sample[1]
        raise self._refused(i, f"is {type(sample).__name__}, not a pair (x, y)")

    def _x(self, i: int, given: Any) -> Tensor:
        x = self._tensor(i, given)
        if x.dtype != torch.uint8:
            if not x.dtype.is_floating_point:
                raise self._refused(i, f"has x of {x.dtype}; use bytes (uint8) or floats")
            x = x.float()
            if not bool(torch.isfinite(x).all()):
                raise self._refused(i, "has NaN or infinity in x")
        if tuple(x.shape) != self._x_shape:
            found = f"has x of shape {tuple(x.shape)}"
            raise self._refused(
                i, f"{found}; the declared shape of every sample is {self._x_shape}"
            )
        if self._dtype is not None and x.dtype != self._dtype:
            raise self._refused(
                i, f"has x of {x.dtype}, but the samples before it have {self._dtype}"
            )
        self._dtype = x.dtype
        return x

    def _y(self, i: int, given: Any) -> Tensor:
        y = self._tensor(i, given)
        if y.dtype.is_complex or (y.dtype.is_floating_point and self._task.classes):
            raise self._refused(i, f"has y of {y.dtype}; {self._task.name} has integer classes")
        if not fits(tuple(y.shape), self._y_shape):
            found, expected = f"has y of shape {tuple(y.shape)}", written(self._y_shape)
            raise self._refused(i, f"{found}; {self._task.name} has {expected} here")
        self._y_shape = tuple(y.shape)  # the same in every sample
        return y.long() if self._task.classes else y.float()

    def _tensor(self, i: int, given: Any) -> Tensor:
        if isinstance(given, Tensor):
            return given.detach()
        try:
            return torch.from_numpy(np.array(given))  # a copy, because some arrays are read-only
        except (TypeError, ValueError, RuntimeError) as e:
            raise self._refused(
                i, f"holds {type(given).__name__}, which cannot become an array: {e}"
            ) from e

    def _refused(self, i: int, what: str) -> DatasetUnusable:
        return DatasetUnusable(f"{self._name} sample {i} {what}")
