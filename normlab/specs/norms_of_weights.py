"""Kinds that act on weights, and the one that acts on nothing: options with their limits."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.errors import FieldProblem
from normlab.specs.norm_base import ActivationNormSpec, ActsOn, NormSpec, groups_problem
from normlab.specs.norms_over_samples import GroupNormSpec


class WeightNormSpec(NormSpec):
    """Weights of each output channel as a learned length times a direction."""

    title: ClassVar[str] = "Weight Normalization"
    source: ClassVar[str] = "Salimans and Kingma 2016, arXiv:1602.07868"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "weights"

    kind: Literal["weight"] = "weight"
    include_linear: bool = Field(
        False, description="also normalize the weights of linear layers, not only of convolutions"
    )


class BoundedWeightNormSpec(NormSpec):
    """Weight norm whose length stays what it was at the start."""

    title: ClassVar[str] = "Bounded Weight Normalization"
    source: ClassVar[str] = "Hoffer, Banner, Golan and Soudry 2018, arXiv:1803.01814"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "weights"

    kind: Literal["bounded_weight"] = "bounded_weight"
    rho: Literal["rms", "mean", "learned"] = Field(
        "rms",
        description="length of every channel: the root mean square or the mean of the initial "
        "lengths, or a learned length, with a fixed total",
    )
    p: Literal["2", "inf"] = Field("2", description="norm that measures a channel's length")
    renormalize: bool = Field(
        False, description="also rescale the stored weights to length 1 before each use in training"
    )
    include_linear: bool = Field(
        False, description="also normalize the weights of linear layers, not only of convolutions"
    )


class WeightStandardizedSpec(ActivationNormSpec):
    """Filters of mean 0 and variance 1, and group norm at the activations."""

    title: ClassVar[str] = "Weight Standardization with Group Normalization"
    source: ClassVar[str] = "Qiao, Wang, Liu, Shen and Yuille 2019, arXiv:1903.10520"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    within_token: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "both"

    kind: Literal["weight_standardized"] = "weight_standardized"
    groups: int = Field(
        4,
        ge=1,
        le=65536,
        description="number of groups of the group norm; it must divide the channels of "
        "every layer",
    )
    weight_eps: float = Field(
        1e-10, gt=0, le=1, description="number that is added to the variance of a filter's weights"
    )
    include_linear: bool = Field(
        False, description="also normalize the weights of linear layers, not only of convolutions"
    )

    def for_activations(self) -> NormSpec:
        """Return the group norm."""
        own = {"kind", "weight_eps", "include_linear"}
        return GroupNormSpec.model_validate(self.model_dump(exclude=own))

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return the problem that the groups do not divide the channels, if so."""
        return groups_problem(self.groups, channels)


class ScaledWeightStandardizedSpec(NormSpec):
    """Filters of mean 0 that keep the variance of their input, with a learned gain."""

    title: ClassVar[str] = "Scaled Weight Standardization"
    source: ClassVar[str] = "Brock, De and Smith 2021, arXiv:2101.08692; with Simonyan 2102.06171"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "weights"

    kind: Literal["scaled_weight_standardized"] = "scaled_weight_standardized"
    nonlinearity: Literal["relu", "silu", "gelu", "none"] = Field(
        "relu", description="the network's activation, whose constant gamma multiplies the weights"
    )
    weight_eps: float = Field(
        1e-4, gt=0, le=1, description="smallest value of a filter's fan-in times its variance"
    )
    include_linear: bool = Field(
        False, description="also normalize the weights of linear layers, not only of convolutions"
    )


class NoNormSpec(NormSpec):
    """No normalization: the activation alone."""

    title: ClassVar[str] = "No normalization"
    source: ClassVar[str] = "the baseline"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    keeps_channels_last: ClassVar[bool] = True
    acts_on: ClassVar[ActsOn] = "nothing"

    kind: Literal["none"] = "none"
