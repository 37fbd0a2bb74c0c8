"""Kinds that divide by a root mean square and take no mean off: options with their limits."""

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
    eps: float = Field(1e-5, gt=0, le=1, description="added to the mean square")
    p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the channels, the first ones, that the mean square is taken over",
    )
    groups: int = Field(
        1, ge=1, le=65536, description="divided apart; must divide the channels of every layer"
    )

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Say that the groups do not divide the channels."""
        return groups_problem(self.groups, channels)

    def over_gates(self, gates: int, width: int) -> NormSpec:
        """Return the same spec with its groups in each gate."""
        return self.model_copy(update={"groups": gates * self.groups})
