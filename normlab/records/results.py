"""Records of a study's results: rows with means over seeds, and comparisons."""

from __future__ import annotations

from typing import Any, Dict, List, Union

from pydantic import BaseModel, Field

from normlab.not_finite import Name

_EXCLUDED: Any = Field(
    default_factory=dict,
    description="seeds that both have, but one of them as NaN or infinity, with this value; they "
    "are not in the difference",
)
_LEFT_OUT: Any = Field(
    default_factory=list,
    description="rows that are not here because each seed that both have is NaN or infinite in "
    "one of them, with the values",
)


def half_width(low: Union[float, None], high: Union[float, None]) -> Union[float, None]:
    """Return half the width of an interval; None where one of its ends is open."""
    return None if low is None or high is None else (high - low) / 2


class ResultRow(BaseModel):
    """One job, or the seeds of one combination; a row never pools cells that differ in more."""

    coordinates: Dict[str, Any]
    labels: Dict[str, str] = Field(description="coordinates as people read them")
    n: int = Field(description="number of values in the row, one per seed")
    failed: int = Field(description="number of cells whose job has failed")
    without: Dict[str, int] = Field(
        default_factory=dict,
        description="number of cells without a value, by the state of their job: failed, "
        "cancelled, pruned, queued, running, missing, emulated (for a timing); for jobs that "
        "succeeded: not reported, or what their value is: NaN, Infinity or -Infinity",
    )
    mean: Union[float, None]
    mean_text: str = Field(
        "",
        description="the mean, rounded to the second digit of `half_text`; bytes have a unit, "
        "such as MiB; if all values are NaN or infinite, which they are",
    )
    half_text: str = Field(
        "",
        description="half the width of the interval, with two digits; bytes have a unit",
    )
    sd: Union[float, None]
    low: Union[float, None]
    high: Union[float, None]
    values: Dict[int, float] = Field(description="values by seed, of which the mean is")
    excluded: Dict[int, Name] = Field(
        default_factory=dict,
        description="values that are NaN or infinite by seed; no mean can include them",
    )
    jobs: Dict[int, str] = Field(description="jobs by seed")
    states: Dict[int, str] = Field(description="states by seed")

    @property
    def half(self) -> Union[float, None]:
        """Half the width of the interval; None if there is none."""
        return half_width(self.low, self.high)

    def number(self, seed: int) -> Union[float, None]:
        """Return the value of *seed*, NaN and infinity included; None if it has none."""
        return float(self.excluded[seed]) if seed in self.excluded else self.values.get(seed)


class ResultTable(BaseModel):
    """A metric over a study's cells."""

    study: str
    metric: str
    reduction: str
    interval: str
    confidence: float
    group_by: List[str]
    where: Dict[str, str] = Field(
        default_factory=dict, description="the chosen cells: each path with its label"
    )
    rows: List[ResultRow]


class ComparisonRow(BaseModel):
    """a minus b if everything else is equal."""

    coordinates: Dict[str, Any]
    labels: Dict[str, str]
    n: int
    excluded: Dict[int, Name] = _EXCLUDED
    a_mean: float
    b_mean: float
    difference: float
    sd: Union[float, None]
    low: Union[float, None]
    high: Union[float, None]

    @property
    def half(self) -> Union[float, None]:
        """Half the width of the interval of the difference; None if there is none."""
        return half_width(self.low, self.high)


class ComparisonTable(BaseModel):
    """Two values of one axis, compared over the seeds that both have."""

    study: str
    metric: str
    axis: str
    linked: List[str] = Field(
        default_factory=list, description="paths that vary together with the axis"
    )
    a: str
    b: str
    rows: List[ComparisonRow]
    left_out: List[str] = _LEFT_OUT


class DifferenceRow(BaseModel):
    """A row minus the reference row that is equal in everything else, paired by seed."""

    labels: Dict[str, str] = Field(description="labels of the row, for all paths of the study")
    n: int = Field(description="number of seeds that both have")
    excluded: Dict[int, Name] = _EXCLUDED
    mean: float
    mean_text: str = Field(
        "",
        description="the mean, rounded to the second digit of half the interval's width; bytes "
        "have a unit, such as MiB",
    )
    low: Union[float, None]
    high: Union[float, None]
    p: Union[float, None] = Field(
        description="p-value of the two-sided paired t test; null for fewer than two seeds, or "
        "without spread"
    )
    p_adjusted: Union[float, None] = Field(
        description="p-value after Holm's correction for all rows"
    )


class DifferenceTable(BaseModel):
    """All rows of a study that have a partner with the reference value of an axis."""

    study: str
    metric: str
    axis: str
    linked: List[str] = Field(
        default_factory=list, description="paths that vary together with the axis"
    )
    against: str
    where: Dict[str, str] = Field(default_factory=dict)
    rows: List[DifferenceRow]
    left_out: List[str] = _LEFT_OUT
