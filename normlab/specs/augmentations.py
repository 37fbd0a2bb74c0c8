"""The random changes to training samples that jobs can name, with their options."""

from __future__ import annotations

from typing import ClassVar, Literal, Tuple, Type, Union

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Annotated, Self

from normlab.specs.by_name import ByName, NamedSpec, registry_of
from normlab.specs.registries import AUGMENTATIONS as AUGMENTATION

_IMAGES = ("classification",)


class Augmentation(NamedSpec):
    """
    The base of all augmentations.

    Attributes:
        factory: the module:object that makes it from its options; see `data.augmenting.Augmenting`.
        tasks: the tasks whose targets stay correct; if empty, those that take mixed targets.
        mixes: whether it also changes targets, by mixing samples of one micro-batch.
        pixels: whether it takes images from 0 (black) to 1 (white), not standardized samples.
        draws: the number of random numbers per sample, if the factory is a plain function.
    """

    tasks: ClassVar[Tuple[str, ...]] = _IMAGES
    mixes: ClassVar[bool] = False
    pixels: ClassVar[bool] = False
    draws: ClassVar[int] = 0


class Crop(Augmentation):
    """Pad with zeros, and cut the image's size out anywhere."""

    factory: ClassVar[str] = "normlab.data.augmentations.framing:Crop"
    name: Literal["crop"] = "crop"
    pad: int = Field(4, ge=1, le=64, description="width of the padding on each side, in pixels")


class Flip(Augmentation):
    """Mirror left to right."""

    factory: ClassVar[str] = "normlab.data.augmentations.framing:Flip"
    name: Literal["flip"] = "flip"
    probability: float = Field(0.5, gt=0, le=1, description="probability that a sample is mirrored")


class RandomResizedCrop(Augmentation):
    """Cut out a part of random area and aspect ratio, and resize it (Szegedy et al., 2015)."""

    factory: ClassVar[str] = "normlab.data.augmentations.framing:RandomResizedCrop"
    name: Literal["random_resized_crop"] = "random_resized_crop"
    size: Union[int, None] = Field(
        None, ge=8, le=1024, description="side of the result in pixels; null: the side of the input"
    )
    scale_min: float = Field(
        0.08, gt=0, le=1, description="smallest share of the image's area that is cut out"
    )
    scale_max: float = Field(
        1.0, gt=0, le=1, description="largest share of the image's area that is cut out"
    )
    ratio_max: float = Field(
        4 / 3, ge=1, le=10, description="largest ratio of the longer side to the shorter one"
    )

    @model_validator(mode="after")
    def _scales_are_in_order(self) -> Self:
        _check_order(self.scale_min, self.scale_max)
        return self


class RandomErasing(Augmentation):
    """Set a rectangle to the mean of the training set (Zhong et al., 2020)."""

    factory: ClassVar[str] = "normlab.data.augmentations.framing:RandomErasing"
    tasks: ClassVar[Tuple[str, ...]] = _IMAGES
    name: Literal["random_erasing"] = "random_erasing"
    probability: float = Field(
        0.25, gt=0, le=1, description="probability that a sample loses a rectangle"
    )
    scale_min: float = Field(
        0.02, gt=0, lt=1, description="smallest share of the image's area that is erased"
    )
    scale_max: float = Field(
        0.33, gt=0, lt=1, description="largest share of the image's area that is erased"
    )
    ratio_max: float = Field(
        3.3, ge=1, le=10, description="largest ratio of the longer side to the shorter one"
    )

    @model_validator(mode="after")
    def _scales_are_in_order(self) -> Self:
        _check_order(self.scale_min, self.scale_max)
        return self


class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue, in this order."""

    factory: ClassVar[str] = "normlab.data.augmentations.colors:ColorJitter"
    tasks: ClassVar[Tuple[str, ...]] = (*_IMAGES, "segmentation")
    pixels: ClassVar[bool] = True
    name: Literal["color_jitter"] = "color_jitter"
    brightness: float = Field(
        0.4, ge=0, le=1, description="the largest change b: factors are from 1 - b to 1 + b"
    )
    contrast: float = Field(
        0.4, ge=0, le=1, description="the largest change c: factors are from 1 - c to 1 + c"
    )
    saturation: float = Field(
        0.4, ge=0, le=1, description="the largest change s: factors are from 1 - s to 1 + s"
    )
    hue: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="the largest turn h of the hue: turns are from -h to h; only images with "
        "three channels have a hue",
    )


class RandAugment(Augmentation):
    """Some of fifteen changes in turn, all of one strength (Cubuk et al., 2020)."""

    factory: ClassVar[str] = "normlab.data.augmentations.policies:RandAugment"
    pixels: ClassVar[bool] = True
    name: Literal["rand_augment"] = "rand_augment"
    num_ops: int = Field(
        2, ge=1, le=8, description="number of changes that are drawn for each sample"
    )
    magnitude: float = Field(
        9.0, ge=0, le=10, description="mean strength of the changes; 10 is the largest"
    )
    deviation: float = Field(
        0.5,
        ge=0,
        le=10,
        description="standard deviation of the strength, which is normally distributed",
    )
    probability: float = Field(
        0.5, gt=0, le=1, description="probability that a drawn change is applied"
    )


class TrivialAugment(Augmentation):
    """One of fourteen changes, of any strength (Müller and Hutter, 2021)."""

    factory: ClassVar[str] = "normlab.data.augmentations.policies:TrivialAugment"
    pixels: ClassVar[bool] = True
    name: Literal["trivial_augment"] = "trivial_augment"


class Mixup(Augmentation):
    """Average each sample and its target with the one before it (Zhang et al., 2018)."""

    factory: ClassVar[str] = "normlab.data.augmentations.mixing:mixup"
    tasks: ClassVar[Tuple[str, ...]] = ()
    mixes: ClassVar[bool] = True
    name: Literal["mixup"] = "mixup"
    alpha: float = Field(
        0.2, gt=0, le=100, description="shares of the two samples are drawn from Beta(alpha, alpha)"
    )
    probability: float = Field(
        1.0, gt=0, le=1, description="probability that a micro-batch is mixed"
    )


class CutMix(Augmentation):
    """Put a rectangle of the sample before it into each sample (Yun et al., 2019)."""

    factory: ClassVar[str] = "normlab.data.augmentations.mixing:cutmix"
    tasks: ClassVar[Tuple[str, ...]] = ()
    mixes: ClassVar[bool] = True
    name: Literal["cutmix"] = "cutmix"
    alpha: float = Field(
        1.0,
        gt=0,
        le=100,
        description="the share of the area that stays is drawn from Beta(alpha, alpha)",
    )
    probability: float = Field(
        1.0, gt=0, le=1, description="probability that a micro-batch is mixed"
    )


class MixupOrCutMix(Augmentation):
    """One of both for each micro-batch."""

    factory: ClassVar[str] = "normlab.data.augmentations.mixing:Mixing"
    tasks: ClassVar[Tuple[str, ...]] = ()
    mixes: ClassVar[bool] = True
    name: Literal["mixup_or_cutmix"] = "mixup_or_cutmix"
    mixup_alpha: float = Field(0.2, gt=0, le=100, description="the alpha of mixup")
    cutmix_alpha: float = Field(1.0, gt=0, le=100, description="the alpha of cutmix")
    cutmix_share: float = Field(
        0.5, ge=0, le=1, description="share of the mixed micro-batches that cutmix mixes"
    )
    probability: float = Field(
        1.0, gt=0, le=1, description="probability that a micro-batch is mixed"
    )


class ForgottenAugmentation(Augmentation):
    """A stored augmentation of a plugin that this process does not have, for display only."""

    model_config = ConfigDict(extra="allow")
    name: str


def _check_order(least: float, most: float) -> None:
    if least > most:
        raise ValueError(f"scale_min={least:g} is more than scale_max={most:g}; swap them")


_OWN: Tuple[Type[Augmentation], ...] = (
    Crop,
    Flip,
    RandomResizedCrop,
    RandomErasing,
    ColorJitter,
    RandAugment,
    TrivialAugment,
    Mixup,
    CutMix,
    MixupOrCutMix,
)
AUGMENTATIONS = registry_of(AUGMENTATION, _OWN)
AugmentationByName = Annotated[
    Augmentation, ByName(AUGMENTATIONS, Augmentation, ForgottenAugmentation)
]
