"""Convert standardized samples to images from 0 (black) to 1 (white), and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from normlab.data.datasets import Data
from normlab.data.stream import Stream
from normlab.data.training_data import TrainingData
from normlab.errors import DatasetUnusable


@dataclass(frozen=True)
class Levels:
    """
    The levels of a dataset: image = standardized * span + floor.

    Args:
        span, floor: one number per channel, (1, C, 1, 1).
    """

    span: Tensor
    floor: Tensor

    def image(self, x: Tensor) -> Tensor:
        """Return standardized *x* in [0, 1]; values that earlier changes moved out are clipped."""
        return (x * self.span + self.floor).clamp(0, 1)

    def standardized(self, image: Tensor) -> Tensor:
        """Return *image* standardized, as the network receives it."""
        return (image - self.floor) / self.span


def levels_of(data: TrainingData) -> Levels:
    """
    Return the levels of *data*: 0 to 255 for bytes, the training set's range for floats in memory.

    All channels have the same black and white, so that colors do not change.

    Raises:
        DatasetUnusable: the data are a stream of floats, whose range is unknown.
    """
    if isinstance(data, Stream):
        if data.shift is None or data.scale is None or data.train.read([0])[0].dtype != torch.uint8:
            raise DatasetUnusable(
                "augmentations: one of them needs the values of black and white, and a stream of "
                "floats has none; store bytes, or set loading.mode to 'memory'"
            )
        return _of_bytes(data.shift, data.scale)
    if not isinstance(data, Data):
        raise DatasetUnusable(f"augmentations: {type(data).__name__} has no black and white")
    if data.shift is not None and data.scale is not None:
        return _of_bytes(data.shift, data.scale)
    ones = data.train.x.new_ones(1, data.channels, 1, 1)
    mean, deviation = data.moments or (ones * 0, ones)
    ends = [f(data.train.x, dim=(0, 2, 3)).view_as(ones) for f in (Tensor.amin, Tensor.amax)]
    low, high = (end * deviation + mean for end in ends)
    white = (high.amax() - low.amin()).clamp(min=1e-6)
    return Levels(deviation / white, (mean - low.amin()) / white)


def _of_bytes(shift: Tensor, scale: Tensor) -> Levels:
    return Levels(1 / (255 * scale), shift / 255)
