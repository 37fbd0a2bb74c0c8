"""What the specs of all normalizers share, and the names of the kinds."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Mapping, Optional

from pydantic import Field, model_validator
from typing_extensions import Literal, Self

from normlab.specs.base import Spec


class Normalizer(str, Enum):
    """The kinds, by the name that a job uses."""

    BATCH = "batch"
    LAYER = "layer"
    INSTANCE = "instance"
    GROUP = "group"
    BATCH_RENORM = "batch_renorm"
    STREAMING = "streaming"
    L1_BATCH = "l1_batch"
    LINF_BATCH = "linf_batch"
    TOPK_BATCH = "topk_batch"
    ONLINE = "online"
    SWITCHABLE = "switchable"
    SPARSE_SWITCHABLE = "sparse_switchable"
    META = "meta"
    WEIGHT = "weight"
    BOUNDED_WEIGHT = "bounded_weight"
    NONE = "none"


class NormSpec(Spec):
    """What all kinds share: facts that the catalogue and the documentation show."""

    title: ClassVar[str]
    source: ClassVar[str]
    batch_dependent: ClassVar[bool] = False  # a sample's output depends on the others' in the batch
    stateful: ClassVar[bool] = False  # buffers change while training
    channelwise: ClassVar[bool] = False  # every channel ends with mean 0 and variance 1
    keeps_expressivity: ClassVar[bool] = True  # no statistic of a sample is lost
    acts_on: ClassVar[Literal["activations", "weights", "nothing"]] = "activations"
    runs_on_ipu: ClassVar[bool] = True
    ipu_reason: ClassVar[str] = "plain operators differentiate it"

    @model_validator(mode="before")
    @classmethod
    def _refuse_proxy_elsewhere(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "proxy" in values and "proxy" not in cls.model_fields:
            kind = cls.model_fields["kind"].default
            raise ValueError(
                f"{kind!r} cannot take proxy: it normalizes {cls.acts_on}, so no affine of an "
                "activation is there to replace; leave proxy out, or use a kind such as 'group'"
            )
        return values


class ActivationNormSpec(NormSpec):
    """Kinds that normalize activations: eps, the affine, and the proxy-normalized activation."""

    eps: float = Field(1e-5, gt=0, le=1, description="added to the variance")
    affine: bool = Field(True, description="learn a scale and a shift for each channel")
    proxy: bool = Field(
        False, description="move the affine into a proxy-normalized activation after the norm"
    )
    proxy_eps: float = Field(0.03, gt=0, le=1, description="added to the proxy variance")
    quadrature: Literal["exact", "midpoint200"] = Field(
        "exact",
        description="proxy expectation: closed form for ReLU and Gauss-Hermite otherwise, "
        "or the 200 equiprobable midpoints of the published code",
    )
    proxy_weight_decay: float = Field(
        0.0, ge=0, le=1, description="pulls the proxy's extra mean and scale back to N(0, 1)"
    )

    @model_validator(mode="after")
    def _proxy_needs_affine(self) -> Self:
        if self.proxy and not self.affine:
            raise ValueError(
                "proxy=true with affine=false: the proxy activation holds the affine; "
                "set affine to true or proxy to false"
            )
        return self


class BatchStatisticsSpec(ActivationNormSpec):
    """Kinds with statistics over the batch: how they are tracked, and over how many samples."""

    batch_dependent: ClassVar[bool] = True
    stateful: ClassVar[bool] = True

    momentum: Optional[float] = Field(
        0.1,
        ge=0,
        le=1,
        description="weight of the new value in running statistics; null averages all batches",
    )
    virtual_batch_size: Optional[int] = Field(
        None,
        ge=1,
        le=65_536,
        description="take statistics over this many samples at a time (ghost batches)",
    )
