"""The training options: optimizer, learning-rate schedule, loss, augmentation, checkpoints."""

from __future__ import annotations

from typing import Any, Callable, Literal, Union

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Annotated, Self

from normlab.specs.base import Spec
from normlab.specs.json_values import Count

BatchScaling = Literal["linear", "square_root", "time_constant"]
NormMode = Literal["rate", "schedule"]
TWIN = "twin"
_JOB_OR_TWIN = r"^(twin|[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12})$"


def _named(default: str) -> Callable[[Any], Any]:
    """Expand a bare name to its object, and add the default name to an object without one."""

    def name(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        return {"name": default, **value} if isinstance(value, dict) else value

    return name


class _Optimizer(Spec):
    """The options of every optimizer."""

    lr: float = Field(0.1, gt=0, le=1000, description="learning rate before any scaling")
    lr_reference_batch: Union[int, None] = Field(
        None,
        ge=1,
        le=1_048_576,
        description="samples per update at which *lr* holds; null leaves *lr* as it is",
    )
    batch_scaling: BatchScaling = Field(
        "linear",
        description="how lr follows the samples per update b: linear lr*b/b_ref, square_root "
        "lr*sqrt(b/b_ref), time_constant also moves momentum to m^(b/b_ref) (needs momentum)",
    )
    weight_decay: float = Field(0.0, ge=0, le=10, description="L2 on matrices and filters")
    decay_normalizers: bool = Field(
        False, description="apply weight decay to biases and normalizer parameters as well"
    )
    clip_norm: Union[float, None] = Field(
        None, gt=0, description="largest norm of the whole gradient; null does not clip"
    )
    clip_ratio: Union[float, None] = Field(
        None,
        gt=0,
        le=1000,
        description="largest norm of a unit's gradient in that of its weights (adaptive gradient "
        "clipping); null does not clip",
    )
    norms_of: Union[str, None] = Field(
        None,
        pattern=_JOB_OR_TWIN,
        description="a finished job with diagnostic 'weight_norms', by id, whose weight norms "
        "steer this one; 'twin': the same job without this field. Steered layers do not decay",
    )
    norm_mode: NormMode = Field(
        "rate",
        description="with norms_of: rate multiplies updates by ||w||^2 / ||recorded w||^2, "
        "schedule gives the weights the recorded norms",
    )
    norm_ratio_limit: Union[float, None] = Field(
        None, gt=1, description="keep that ratio within [1 / limit, limit]; null: as published"
    )

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped, in either way."""
        return self.clip_norm is not None or self.clip_ratio is not None

    @model_validator(mode="after")
    def _clips_once(self) -> Self:
        if self.clip_norm is not None and self.clip_ratio is not None:
            raise ValueError(
                f"clip_norm={self.clip_norm:g} with clip_ratio={self.clip_ratio:g}: one clips the "
                "whole gradient, the other each unit's by its weights; choose one"
            )
        return self


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="0 turns momentum off")
    nesterov: bool = Field(False, description="look ahead along the momentum (needs momentum > 0)")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0; set momentum or leave nesterov out")
        return self


class AdamW(_Optimizer):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(0.001, gt=0, le=1000, description="learning rate before any scaling")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the mean of squared gradients")
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment")


class RMSprop(_Optimizer):
    """RMSprop with momentum."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: float = Field(0.01, gt=0, le=1000, description="learning rate before any scaling")
    alpha: float = Field(0.99, ge=0, lt=1, description="decay of the mean of squared gradients")
    momentum: float = Field(0.0, ge=0, lt=1, description="0 turns momentum off")
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment")


OptimizerSpec = Annotated[
    Union[SGD, AdamW, RMSprop], Field(discriminator="name"), BeforeValidator(_named("sgd"))
]


class _Schedule(Spec):
    """The options of every schedule."""

    warmup_epochs: float = Field(
        0.0, ge=0, le=1000, description="epochs over which the rate rises linearly from 0"
    )


class Constant(_Schedule):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"


class Step(_Schedule):
    """Multiply the rate by *gamma* at each milestone."""

    name: Literal["step"] = "step"
    milestones: tuple[float, ...] = Field(
        (0.5, 0.75),
        min_length=1,
        max_length=100,
        description="fractions of the training at which the rate drops, rising, inside (0, 1)",
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor at each milestone")

    @model_validator(mode="after")
    def _milestones_rise(self) -> Step:
        inside = all(0 < m < 1 for m in self.milestones)
        if not inside or sorted(set(self.milestones)) != list(self.milestones):
            raise ValueError(f"milestones {self.milestones} must rise, each inside (0, 1)")
        return self


class Cosine(_Schedule):
    """Fall from the full rate to *final* of it along half a cosine."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="share of the rate left at the end")


ScheduleSpec = Annotated[
    Union[Constant, Step, Cosine], Field(discriminator="name"), BeforeValidator(_named("cosine"))
]


class AugmentationSpec(Spec):
    """Random changes to the training images, drawn from the job's seed."""

    crop: int = Field(0, ge=0, le=64, description="pad by so many pixels, then crop back; 0: off")
    flip: bool = Field(False, description="mirror left to right with probability 1/2")


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
