"""The other training options: loss, averaged weights, augmentation, checkpoints."""

from __future__ import annotations

from typing import List, Literal, Union

from pydantic import Field

from normlab.specs.augmentations import Augmentation, Crop, Flip
from normlab.specs.base import Spec
from normlab.specs.json_values import Count
from normlab.specs.optimizers import TWIN as TWIN  # normlab.claims knows it from here


class LossSpec(Spec):
    """A loss for classes, in place of the cross entropy."""

    name: Literal["binary_cross_entropy"] = Field(
        "binary_cross_entropy",
        description="of each class by itself, the mean over classes (Wightman et al., 2021)",
    )
    threshold: Union[float, None] = Field(
        None, ge=0, lt=1, description="a target above it counts as 1, others as 0; null: as it is"
    )


class AverageSpec(Spec):
    """An exponential moving average of the weights, which evaluations use."""

    decay: float = Field(0.9999, gt=0, lt=1, description="share of the average that stays")
    every: int = Field(1, ge=1, le=100_000, description="updates from one averaging to the next")
    start: float = Field(
        0.0, ge=0, lt=1, description="share of the training before which it is a copy"
    )


class AugmentationSpec(Spec):
    """Random changes to the training images, before those that `augmentations` names."""

    crop: int = Field(0, ge=0, le=64, description="pad by so many pixels, then crop back; 0: off")
    flip: bool = Field(False, description="mirror left to right with probability 1/2")

    def members(self) -> List[Augmentation]:
        """Return the augmentations that it stands for."""
        found: List[Augmentation] = [Crop(pad=self.crop)] if self.crop else []
        return [*found, Flip()] if self.flip else found


class CheckpointSpec(Spec):
    """When checkpoints of the whole training state are written, and how many are kept."""

    every_steps: Union[Count, None] = Field(None, description="updates; null: by time only")
    every_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="seconds between checkpoints; after a tenth of them, an epoch's end has one",
    )
    keep: int = Field(2, ge=1, le=100, description="newest checkpoints kept")
