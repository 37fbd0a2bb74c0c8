"""A dataset as read from its files, before it is standardized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from torch import Tensor


@dataclass(frozen=True)
class Raw:
    """
    Samples and their classes.

    Args:
        train_x, test_x: images (N, C, H, W), float32 or bytes, or one-hot sequences (N, K, T).
        train_y, test_y: int64 of shape (N,), or (N, H, W) or (N, T) if each position has a class;
            float32 if targets are not classes (see `specs.tasks.TaskFacts.target_shape`).
        standardize: whether to give the channels mean 0 and deviation 1; False for one-hot samples.
        broken: one message for each sample that could not be read and was left out.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
    standardize: bool = True
    broken: Tuple[str, ...] = ()
