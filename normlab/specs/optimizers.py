"""The optimizers that jobs can name, with their options."""

from __future__ import annotations

from typing import ClassVar, Dict, Literal, Type, Union

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Annotated, Self

from normlab.specs.by_name import ByName, NamedSpec, registry_of
from normlab.specs.registries import OPTIMIZERS as OPTIMIZER, Registry

BatchScaling = Literal["linear", "square_root", "time_constant"]
NormMode = Literal["rate", "schedule"]
TWIN = "twin"
_JOB_OR_TWIN = r"^(twin|[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12})$"


class Optimizer(NamedSpec):
    """
    The options of every optimizer.

    Attributes:
        factory: the module:object that makes it from parameter groups, lr and its own options.
        decays: whether it uses `weight_decay`.
        compiled: whether an IPU's program can contain it.
        packs: whether it can train the members of a pack, each with its own numbers.
    """

    decays: ClassVar[bool] = True
    compiled: ClassVar[bool] = False
    packs: ClassVar[bool] = False

    lr: float = Field(0.1, gt=0, le=1000, description="learning rate, before any scaling")
    lr_reference_batch: Union[int, None] = Field(
        None,
        ge=1,
        le=1_048_576,
        description="number of samples per update for which *lr* is given; null: *lr* is not "
        "scaled",
    )
    batch_scaling: BatchScaling = Field(
        "linear",
        description="how lr follows the number of samples per update, b: linear is lr*b/b_ref, "
        "square_root is lr*sqrt(b/b_ref), and time_constant changes both lr and momentum, "
        "the latter to m^(b/b_ref) (needs momentum)",
    )
    weight_decay: float = Field(0.0, ge=0, le=10, description="L2 decay of matrices and filters")
    decay_normalizers: bool = Field(
        False, description="also apply weight decay to biases and to the parameters of normalizers"
    )
    layer_decay: Union[float, None] = Field(
        None,
        gt=0,
        le=1,
        description="factor of the learning rate from each block of the network to the block "
        "before it; the last block has the full rate; null: all blocks have the full rate",
    )
    clip_norm: Union[float, None] = Field(
        None, gt=0, description="largest norm of the whole gradient; null: no clipping"
    )
    clip_ratio: Union[float, None] = Field(
        None,
        gt=0,
        le=1000,
        description="largest ratio of the norm of a unit's gradient to the norm of its weights "
        "(adaptive gradient clipping); null: no clipping",
    )
    clip_value: Union[float, None] = Field(
        None, gt=0, description="largest magnitude of an entry of the gradient; null: no clipping"
    )
    norms_of: Union[str, None] = Field(
        None,
        pattern=_JOB_OR_TWIN,
        description="the id of a succeeded job with the diagnostic 'weight_norms', whose weight "
        "norms steer this job; 'twin' is the same job without this field. Steered layers have "
        "no weight decay",
    )
    norm_mode: NormMode = Field(
        "rate",
        description="with norms_of: rate multiplies updates by ||w||^2 / ||recorded w||^2, and "
        "schedule gives the weights the recorded norms",
    )
    norm_ratio_limit: Union[float, None] = Field(
        None,
        gt=1,
        description="with norm_mode rate: limit of its ratio, which stays within [1 / limit, "
        "limit]; null: no limit, as published",
    )

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped, in any way."""
        return bool(self._clippings())

    def _clippings(self) -> Dict[str, float]:
        found = {name: getattr(self, name) for name in ("clip_norm", "clip_ratio", "clip_value")}
        return {name: value for name, value in found.items() if value is not None}

    @model_validator(mode="after")
    def _clips_once(self) -> Self:
        found = self._clippings()
        if len(found) > 1:
            given = " with ".join(f"{name}={value:g}" for name, value in found.items())
            raise ValueError(
                f"{given}: clip_norm clips the whole gradient, clip_ratio each unit's by its "
                "weights, clip_value each entry; choose one"
            )
        return self


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    factory: ClassVar[str] = "normlab.training.torch_optimizers:sgd"
    compiled: ClassVar[bool] = True
    packs: ClassVar[bool] = True

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="0 turns momentum off")
    nesterov: bool = Field(
        False, description="take the gradient ahead along the momentum (needs momentum > 0)"
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0; set momentum or leave nesterov out")
        return self


class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    factory: ClassVar[str] = "normlab.training.torch_optimizers:adamw"
    compiled: ClassVar[bool] = True
    packs: ClassVar[bool] = True

    name: Literal["adamw"] = "adamw"
    lr: float = Field(0.001, gt=0, le=1000, description="learning rate, before any scaling")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the mean of squared gradients")
    eps: float = Field(
        1e-8, gt=0, description="number that is added to the root of the second moment"
    )


class RMSprop(Optimizer):
    """RMSprop with momentum."""

    factory: ClassVar[str] = "normlab.training.torch_optimizers:rmsprop"
    compiled: ClassVar[bool] = True
    packs: ClassVar[bool] = True

    name: Literal["rmsprop"] = "rmsprop"
    lr: float = Field(0.01, gt=0, le=1000, description="learning rate, before any scaling")
    alpha: float = Field(0.99, ge=0, lt=1, description="decay of the mean of squared gradients")
    momentum: float = Field(0.0, ge=0, lt=1, description="0 turns momentum off")
    eps: float = Field(
        1e-8, gt=0, description="number that is added to the root of the second moment"
    )


class Lamb(Optimizer):
    """Adam whose step in each tensor is as long as its weights (You et al., 2020)."""

    factory: ClassVar[str] = "normlab.training.lamb:Lamb"

    name: Literal["lamb"] = "lamb"
    lr: float = Field(0.001, gt=0, le=1000, description="learning rate, before any scaling")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the mean of squared gradients")
    eps: float = Field(
        1e-6, gt=0, description="number that is added to the root of the second moment"
    )
    adapt_all: bool = Field(
        False, description="also scale the steps of tensors without weight decay by their lengths"
    )


class Lion(Optimizer):
    """The sign of a mean of gradients, with decoupled weight decay (Chen et al., 2023)."""

    factory: ClassVar[str] = "normlab.training.lion:Lion"

    name: Literal["lion"] = "lion"
    lr: float = Field(1e-4, gt=0, le=1000, description="learning rate, before any scaling")
    beta1: float = Field(
        0.9, ge=0, lt=1, description="share of the running mean of gradients in a step"
    )
    beta2: float = Field(0.99, ge=0, lt=1, description="decay of the mean of gradients")


class ForgottenOptimizer(Optimizer):
    """A stored optimizer of a plugin that this process does not have, for display only."""

    model_config = ConfigDict(extra="allow")
    name: str


OPTIMIZERS: Registry[Type[Optimizer]] = registry_of(OPTIMIZER, (SGD, AdamW, RMSprop, Lamb, Lion))
OptimizerSpec = Annotated[
    Optimizer, ByName(OPTIMIZERS, Optimizer, ForgottenOptimizer, default="sgd")
]
