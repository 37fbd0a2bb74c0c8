"""Kinds that normalize samples alone or in sequence: options with their limits, and facts."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.errors import FieldProblem
from normlab.specs.norm_base import ActivationNormSpec, NormSpec, divisors, groups_problem


class LayerNormSpec(ActivationNormSpec):
    """Statistics of each sample over all channels and positions, affine per channel."""

    title: ClassVar[str] = "Layer Normalization"
    source: ClassVar[str] = "Ba, Kiros and Hinton 2016, arXiv:1607.06450"
    layer: ClassVar[Optional[str]] = "normlab.norms.per_sample:LayerNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    within_token: ClassVar[bool] = True

    kind: Literal["layer"] = "layer"

    def over_gates(self, gates: int, width: int) -> NormSpec:
        """Return group norm with a group for each gate."""
        return GroupNormSpec(groups=gates, eps=self.eps, affine=self.affine)


class InstanceNormSpec(ActivationNormSpec):
    """Statistics of each channel of each sample over its positions."""

    title: ClassVar[str] = "Instance Normalization"
    source: ClassVar[str] = "Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022"
    layer: ClassVar[Optional[str]] = "normlab.norms.per_sample:InstanceNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    channelwise: ClassVar[bool] = True
    keeps_expressivity: ClassVar[bool] = False

    kind: Literal["instance"] = "instance"

    def problem_with_values(self, samples: int, side: int) -> Optional[FieldProblem]:
        """Return the problem that a channel of a sample has only one value."""
        if side > 1:
            return None
        return self.problem_of_kind(
            "finds 1x1 maps at this image size, one value each; use 'group'"
        )

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return the problem that a channel has only one value in a time step."""
        rule = "has one value for each channel in a time step, which would become 0"
        return self.problem_of_kind(f"{rule}; use 'layer', 'group', 'online' or 'none'")


class GroupNormSpec(ActivationNormSpec):
    """Statistics of each sample over groups of channels and all positions."""

    title: ClassVar[str] = "Group Normalization"
    source: ClassVar[str] = "Wu and He 2018, arXiv:1803.08494"
    layer: ClassVar[Optional[str]] = "normlab.norms.per_sample:GroupNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    within_token: ClassVar[bool] = True

    kind: Literal["group"] = "group"
    groups: int = Field(
        4,
        ge=1,
        le=65536,
        description="number of groups; it must divide the channels of every layer",
    )
    grouping: Literal["contiguous", "strided"] = Field(
        "contiguous",
        description="contiguous: channel c is in group c // (C / groups). strided: it is in "
        "group c mod groups",
    )

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return the problem that the groups do not divide the channels, if so."""
        return groups_problem(self.groups, channels)

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return the problem that strided groups would reach over several gates, if so."""
        if self.grouping != "contiguous":
            rule = "strided groups would mix the gates; use 'contiguous'"
            return FieldProblem("normalizer.grouping", rule)
        return super().problem_in_recurrence()

    def over_gates(self, gates: int, width: int) -> NormSpec:
        """Return the same spec with its groups within each gate."""
        return self.model_copy(update={"groups": gates * self.groups})


class OnlineNormSpec(ActivationNormSpec):
    """Exponential averages over samples, with a control process in the backward pass."""

    title: ClassVar[str] = "Online Normalization"
    source: ClassVar[str] = "Chiley et al. 2019, arXiv:1905.05894"
    layer: ClassVar[Optional[str]] = "normlab.norms.online:OnlineNorm"
    graph_refusal: ClassVar[Optional[str]] = "its control process keeps a turn for each backward"
    stateful: ClassVar[bool] = True
    channelwise: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its backward control process cannot be expressed on an IPU"

    kind: Literal["online"] = "online"
    alpha_forward: float = Field(
        0.999, ge=0, lt=1, description="decay of the running mean and variance"
    )
    alpha_backward: float = Field(
        0.99, ge=0, lt=1, description="decay of the control process of gradients"
    )
    error_compensation: Literal["layer_scaling", "clamp", "none"] = Field(
        "layer_scaling", description="what bounds the output while the statistics lag behind"
    )
    clamp_value: float = Field(
        5.0, gt=0, le=1e6, description="with clamp: the largest absolute output"
    )
    layer_scaling_eps: float = Field(
        1e-5, gt=0, le=1, description="number that is added to the mean square"
    )
    layer_scaling_group_size: Optional[int] = Field(
        None,
        ge=1,
        le=65_536,
        description="number of channels that are scaled together; it must divide the channels "
        "of every layer; null: all",
    )

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return the problem that groups for scaling do not divide the channels, if so."""
        size = self.layer_scaling_group_size
        if size is None or channels % size == 0:
            return None
        rule = (
            f"groups of {size} channels do not divide {channels}; use one of {divisors(channels)}"
        )
        return FieldProblem("normalizer.layer_scaling_group_size", rule)

    def over_gates(self, gates: int, width: int) -> NormSpec:
        """Return the same with the channels of one gate scaled together."""
        size = self.layer_scaling_group_size or width
        return self.model_copy(update={"layer_scaling_group_size": size})
