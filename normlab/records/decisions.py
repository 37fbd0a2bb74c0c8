"""Records of a study that decides: a verdict for each comparison, and its looks."""

from __future__ import annotations

from datetime import datetime
from typing import Dict, List, Literal, Union

from pydantic import BaseModel, Field

VerdictWord = Literal["shows", "contradicts", "undecided"]


class LookRecord(BaseModel):
    """One look at a comparison: effects are turned so that positive is better."""

    seeds: int = Field(description="number of seeds that were requested at that time")
    at: datetime
    verdict: VerdictWord
    pairs: int = Field(description="number of seeds with a value on both sides")
    failed: int = Field(
        description="number of seeds without a value; they count against either verdict"
    )
    ties: int = Field(description="number of pairs with equal values")
    mean: Union[float, None] = Field(description="mean of the differences")
    sd: Union[float, None]
    low: Union[float, None] = Field(
        description="lower end of the interval, which holds for this look and all earlier ones "
        "together; null: no bound"
    )
    high: Union[float, None]
    seen: Union[float, None] = Field(
        description="the effect that this look would have shown with the requested power"
    )
    more: Union[int, None] = Field(
        description="estimate of the further seeds that would decide, if mean and spread stay "
        "the same"
    )
    unseen: Union[float, None] = Field(
        None, description="an event that strikes fewer than this share of the seeds has been "
            "missed with a probability above 3 %"
    )  # fmt: skip


class DecisionRow(BaseModel):
    """Whether one value is better than another if everything else is equal."""

    axis: str
    value: str
    against: str
    labels: Dict[str, str] = Field(description="the coordinates that both have in common")
    verdict: VerdictWord
    words: str = Field(description="the verdict as a sentence")
    looks: List[LookRecord]


class DecisionTable(BaseModel):
    """The question of a study that decides, and its progress."""

    study: str
    state: str = Field(description="state of the study")
    metric: str
    reduction: str
    by: float
    power: float
    at_most: int
    rarest: float = Field(
        description="smallest share of the seeds that a collapse strikes, with which it is seen "
        "before the first look"
    )
    largest_sd: float = Field(
        description="largest standard deviation of the differences with which an effect of size "
        "`by` is detected with this power"
    )
    counts: Dict[str, int] = Field(description="number of comparisons by verdict")
    rows: List[DecisionRow]
