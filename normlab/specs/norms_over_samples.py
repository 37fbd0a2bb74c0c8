"""Kinds that take each sample alone, or in order: options with their limits, and facts."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.specs.norm_base import ActivationNormSpec


class LayerNormSpec(ActivationNormSpec):
    """Statistics of each sample over all channels and positions, affine per channel."""

    title: ClassVar[str] = "Layer Normalization"
    source: ClassVar[str] = "Ba, Kiros and Hinton 2016, arXiv:1607.06450"

    kind: Literal["layer"] = "layer"


class InstanceNormSpec(ActivationNormSpec):
    """Statistics of each channel of each sample over its positions."""

    title: ClassVar[str] = "Instance Normalization"
    source: ClassVar[str] = "Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022"
    channelwise: ClassVar[bool] = True
    keeps_expressivity: ClassVar[bool] = False

    kind: Literal["instance"] = "instance"


class GroupNormSpec(ActivationNormSpec):
    """Statistics of each sample over groups of channels and all positions."""

    title: ClassVar[str] = "Group Normalization"
    source: ClassVar[str] = "Wu and He 2018, arXiv:1803.08494"

    kind: Literal["group"] = "group"
    groups: int = Field(4, ge=1, le=65536, description="must divide the channels of every layer")
    grouping: Literal["contiguous", "strided"] = Field(
        "contiguous",
        description="channel c is in group c // (C / groups), or, strided, in c mod groups",
    )


class OnlineNormSpec(ActivationNormSpec):
    """Exponential averages over samples, with a control process in the backward pass."""

    title: ClassVar[str] = "Online Normalization"
    source: ClassVar[str] = "Chiley et al. 2019, arXiv:1905.05894"
    stateful: ClassVar[bool] = True
    channelwise: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its backward control process cannot be expressed on an IPU"

    kind: Literal["online"] = "online"
    alpha_forward: float = Field(0.999, ge=0, lt=1, description="decay of mean and variance")
    alpha_backward: float = Field(0.99, ge=0, lt=1, description="decay of the gradient control")
    error_compensation: Literal["layer_scaling", "clamp", "none"] = Field(
        "layer_scaling", description="what bounds the output when the statistics lag behind"
    )
    clamp_value: float = Field(5.0, gt=0, le=1e6, description="with clamp: |output| at most this")
    layer_scaling_eps: float = Field(1e-5, gt=0, le=1, description="added to the mean square")
    layer_scaling_group_size: Optional[int] = Field(
        None,
        ge=1,
        le=65_536,
        description="channels scaled together; null: all; must divide the channels",
    )
