"""Kinds that do not change activations: options with their limits, and facts."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.specs.norm_base import ActsOn, NormSpec


class WeightNormSpec(NormSpec):
    """Weights of each output channel as a learned length times a direction."""

    title: ClassVar[str] = "Weight Normalization"
    source: ClassVar[str] = "Salimans and Kingma 2016, arXiv:1602.07868"
    graph_refusal: ClassVar[Optional[str]] = None
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "weights"

    kind: Literal["weight"] = "weight"
    include_linear: bool = Field(False, description="linear layers too, not only convolutions")


class BoundedWeightNormSpec(NormSpec):
    """Weight norm whose length stays what it was at the start."""

    title: ClassVar[str] = "Bounded Weight Normalization"
    source: ClassVar[str] = "Hoffer, Banner, Golan and Soudry 2018, arXiv:1803.01814"
    graph_refusal: ClassVar[Optional[str]] = None
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "weights"

    kind: Literal["bounded_weight"] = "bounded_weight"
    rho: Literal["rms", "mean", "learned"] = Field(
        "rms",
        description="length of every channel: root mean square or mean of the initial lengths, "
        "or learned with a fixed total",
    )
    p: Literal["2", "inf"] = Field("2", description="norm that measures a channel's length")
    renormalize: bool = Field(
        False, description="also rescale the stored weights to length 1 before each training use"
    )
    include_linear: bool = Field(False, description="linear layers too, not only convolutions")


class NoNormSpec(NormSpec):
    """No normalization: the activation alone."""

    title: ClassVar[str] = "No normalization"
    source: ClassVar[str] = "the baseline"
    graph_refusal: ClassVar[Optional[str]] = None
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "nothing"

    kind: Literal["none"] = "none"
