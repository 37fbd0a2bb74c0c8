"""Kinds that divide by a root mean square and subtract no mean: options with their limits."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.errors import FieldProblem
from normlab.specs.norm_base import ActivationNormSpec, NormSpec, groups_problem


class RmsNormSpec(ActivationNormSpec):
    """Each sample divided by its root mean square, affine per channel."""

    title: ClassVar[str] = "Root Mean Square Layer Normalization"
    source: ClassVar[str] = "Zhang and Sennrich 2019, arXiv:1910.07467"
    layer: ClassVar[Optional[str]] = "normlab.norms.mean_square:RMSNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    within_token: ClassVar[bool] = True

    kind: Literal["rms"] = "rms"
    eps: float = Field(1e-5, gt=0, le=1, description="number that is added to the mean square")
    p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the channels that the mean square is taken over: the first ones",
    )
    groups: int = Field(
        1,
        ge=1,
        le=65536,
        description="number of groups of channels, each divided by its own mean square; it "
        "must divide the channels of every layer",
    )

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return the problem that the groups do not divide the channels, if so."""
        return groups_problem(self.groups, channels)

    def over_gates(self, gates: int, width: int) -> NormSpec:
        """Return the same spec with its groups within each gate."""
        return self.model_copy(update={"groups": gates * self.groups})


class FilterResponseNormSpec(NormSpec):
    """Each channel of each sample divided by its root mean square, and a learned threshold."""

    title: ClassVar[str] = "Filter Response Normalization"
    source: ClassVar[str] = "Singh and Krishnan 2020, arXiv:1911.09737"
    layer: ClassVar[Optional[str]] = "normlab.norms.filter_response:FilterResponseNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    keeps_expressivity: ClassVar[bool] = False
    to_keep_activation: ClassVar[str] = "set threshold to false"
    without_proxy: ClassVar[str] = "has a thresholded unit in the activation's place"

    kind: Literal["filter_response"] = "filter_response"
    eps: float = Field(1e-6, gt=0, le=1, description="number that is added to the mean square")
    affine: bool = Field(True, description="learn a scale and a shift for each channel")
    learned_eps: bool = Field(
        False,
        description="also add |e| to the mean square, where e is one learned number that starts "
        "at 1e-4",
    )
    threshold: bool = Field(
        True,
        description="put a learned max(y, tau) in the place of the activation; false: the "
        "activation stays as it is",
    )

    @property
    def fuses_activation(self) -> bool:
        """Whether the activation after it becomes a part of it."""
        return self.threshold

    def problem_with_values(self, samples: int, side: int) -> Optional[FieldProblem]:
        """Return the problem that only the sign of a channel's single value would be left."""
        if side > 1 or self.learned_eps:
            return None
        rule = "finds 1x1 maps at this image size, of whose one value it would leave the sign"
        return self.problem_of_kind(f"{rule}; set learned_eps to true, or use 'rms'")

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return the problem that a channel has only one value in a time step."""
        if self.learned_eps:
            return None
        rule = "has one value for each channel in a time step, of which it would leave the sign"
        return self.problem_of_kind(f"{rule}; set learned_eps to true, or use 'rms'")
