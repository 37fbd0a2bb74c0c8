"""The question of a study: which values of an axis are better, and by which margin."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, Mapping, Sequence, Tuple, Union

from pydantic import Field, field_validator, model_validator

from normlab.specs.base import Label, Spec
from normlab.specs.json_values import DottedPath

REDUCTION = re.compile(r"last|best|area|mean_last:([1-9]\d{0,5})")
"""The ways to reduce a job's metric to one number."""
REDUCTION_RULE = "one of last, best, area, mean_last:K (K points)"
MISSED = 0.03
"""The probability that the first look has missed an event as rare as `rarest`."""


class Contrast(Spec):
    """Which values of an axis are compared with which other value."""

    axis: DottedPath = Field(description="the path of an axis of the study")
    against: Union[Label, None] = Field(
        None,
        max_length=1000,
        description="label of the value that the others are compared with; default: the first "
        "value of the axis",
    )
    values: Union[Tuple[Label, ...], None] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="labels of the values that are compared with it; default: all others",
    )


class SeedRounds(Spec):
    """How seeds are added, round after round, until something is decided."""

    by: float = Field(gt=0, description="the margin: the effect that must not be missed")
    power: float = Field(
        0.9, ge=0.5, le=0.95, description="probability that an effect of size `by` is detected"
    )
    at_most: int = Field(64, ge=6, le=1000, description="the largest number of seeds of each cell")
    rarest: float = Field(
        0.2,
        ge=0.01,
        le=0.5,
        description="share of the seeds that an event such as a collapse strikes; the first look "
        "has enough seeds to see it with a probability of 97 %: 16 seeds for 0.2, 6 for 0.5",
    )

    @model_validator(mode="after")
    def _there_are_seeds_for_a_look(self) -> SeedRounds:
        if self.at_most < self.first_look:
            raise ValueError(
                f"at_most {self.at_most} is fewer than the {self.first_look} seeds of the first "
                f"look, which are needed to see an event of one seed in {1 / self.rarest:g}: raise "
                "at_most, or rarest"
            )
        return self

    @property
    def first_look(self) -> int:
        """The seeds before the first look; fewer too often miss an event as rare as *rarest*."""
        return math.ceil(math.log(MISSED) / math.log1p(-self.rarest))


class Decide(SeedRounds):
    """Add seeds until it is decided which values of an axis are better, or a limit is met."""

    metric: Label = Field("val/accuracy", max_length=200, description="the metric that is compared")
    reduction: Label = Field(
        "last",
        max_length=50,
        description="how a job's metric becomes one number: last, best, area or mean_last:K",
    )
    compare: Union[Contrast, None] = Field(
        None,
        description="the comparisons; default: each value of the first axis with its first value",
    )

    @field_validator("reduction")
    @classmethod
    def _is_one(cls, reduction: str) -> str:
        if not REDUCTION.fullmatch(reduction):
            raise ValueError(f"{reduction!r} is not {REDUCTION_RULE}")
        return reduction

    def refuse_wrong_axis(self, axes: Sequence[Mapping[str, Sequence[Any]]]) -> None:
        """Raise ValueError if there is no such axis, or nothing on it to compare."""
        values = {path: of for axis in axes for path, of in axis.items()}
        if not values:
            raise ValueError("needs an axis whose values are compared; add one to axes")
        axis = self.compare.axis if self.compare else next(iter(values))
        if axis not in values:
            raise ValueError(
                f"compare.axis {axis!r} is not an axis: use one of {', '.join(values)}"
            )
        if len(values[axis]) < 2:
            raise ValueError(f"axis {axis!r} has one value: give two or more to compare")


def with_more(seeds: Sequence[int], n: int, without: Sequence[int] = ()) -> Tuple[int, ...]:
    """Return at least *n* seeds: the given ones, then the smallest others not in *without*."""
    taken = {*seeds, *without}
    more = (seed for seed in itertools.count() if seed not in taken)
    return (*seeds, *itertools.islice(more, max(0, n - len(seeds))))
