"""A dataset as its files have it, before it is standardized."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Raw:
    """Images (N, C, H, W), float32 or bytes, and classes (N,), int64."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
