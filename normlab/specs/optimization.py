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
        description="the binary cross entropy of each class by itself, averaged over classes "
        "(Wightman et al., 2021)",
    )
    threshold: Union[float, None] = Field(
        None,
        ge=0,
        lt=1,
        description="targets above this value count as 1, all others as 0; null: targets "
        "stay as they are",
    )


class AverageSpec(Spec):
    """An exponential moving average of the weights, which evaluations use."""

    decay: float = Field(
        0.9999, gt=0, lt=1, description="share of the old average that stays in the new one"
    )
    every: int = Field(
        1, ge=1, le=100_000, description="number of updates from one averaging to the next"
    )
    start: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the training after which averaging begins; before, the "
        "average is a copy of the weights",
    )


class AugmentationSpec(Spec):
    """Random changes to the training images, before those that `augmentations` names."""

    crop: int = Field(
        0,
        ge=0,
        le=64,
        description="pad by this many pixels, and cut out the old size anywhere; 0: off",
    )
    flip: bool = Field(False, description="mirror samples left to right with probability 1/2")

    def members(self) -> List[Augmentation]:
        """Return the augmentations that it stands for."""
        found: List[Augmentation] = [Crop(pad=self.crop)] if self.crop else []
        return [*found, Flip()] if self.flip else found


class CheckpointSpec(Spec):
    """When checkpoints of the whole training state are written, and how many are kept."""

    every_steps: Union[Count, None] = Field(
        None, description="number of updates between checkpoints; null: only the time decides"
    )
    every_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="seconds between checkpoints; the end of an epoch also gets one if a tenth "
        "of this time has passed",
    )
    keep: int = Field(2, ge=1, le=100, description="number of newest checkpoints that are kept")
