"""Kinds without statistics, which map each value by itself: options with their limits."""

from __future__ import annotations

from typing import ClassVar, Optional

from pydantic import Field
from typing_extensions import Literal

from normlab.specs.norm_base import NormSpec


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
