"""Kinds that are norm and activation in one formula, or an activation without statistics."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.errors import FieldProblem
from normlab.specs.norm_base import NormSpec, groups_problem


class EvoNormS0Spec(NormSpec):
    """A learned swish divided by the deviation of each sample's groups of channels."""

    title: ClassVar[str] = "EvoNorm-S0"
    source: ClassVar[str] = "Liu, Brock, Simonyan and Le 2020, arXiv:2004.02967"
    layer: ClassVar[Optional[str]] = "normlab.norms.evonorm:EvoNormS0"
    graph_refusal: ClassVar[Optional[str]] = None
    within_token: ClassVar[bool] = True
    without_proxy: ClassVar[str] = "is the activation as well"

    kind: Literal["evonorm_s0"] = "evonorm_s0"
    groups: int = Field(
        4,
        ge=1,
        le=65536,
        description="number of groups; it must divide the channels of every layer",
    )
    eps: float = Field(1e-5, gt=0, le=1, description="number that is added to the variance")
    affine: bool = Field(True, description="learn a scale and a shift for each channel")

    @property
    def fuses_activation(self) -> bool:
        """Whether the activation after it becomes a part of it."""
        return True

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return the problem that the groups do not divide the channels, if so."""
        return groups_problem(self.groups, channels)

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return the reason that gates already have their own activations."""
        rule = "is an activation as well, and gates end in a sigmoid or tanh"
        return self.problem_of_kind(f"{rule}; use 'group', 'rms', 'layer', 'online' or 'none'")


class DynamicTanhSpec(NormSpec):
    """A tanh with a learned slope in the place of a norm: no statistics at all."""

    title: ClassVar[str] = "Dynamic Tanh"
    source: ClassVar[str] = "Zhu, Chen, He, LeCun and Liu 2025, arXiv:2503.10622"
    layer: ClassVar[Optional[str]] = "normlab.norms.dynamic_tanh:DynamicTanh"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    keeps_channels_last: ClassVar[bool] = True
    within_token: ClassVar[bool] = True
    without_proxy: ClassVar[str] = "makes no normalized activation, for which a proxy could stand"

    kind: Literal["dyt"] = "dyt"
    alpha: float = Field(
        0.5, gt=0, le=100, description="initial value of the learned slope of the tanh at 0"
    )
    affine: bool = Field(True, description="learn a scale and a shift for each channel")
