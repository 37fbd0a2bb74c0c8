"""Comparisons of runs: the fields that differ, and differences of a number, seed by seed."""

from __future__ import annotations

from typing import Any, Dict, List, Union

from pydantic import BaseModel, ConfigDict, Field

from normlab.records.tables import ColumnName, JobId, SeedMean


class CompareQuestion(BaseModel):
    """The runs to compare, the number, and the reference."""

    model_config = ConfigDict(extra="forbid")

    jobs: List[JobId] = Field(min_length=1, max_length=10_000)
    metric: ColumnName = Field(
        "val/accuracy", description="a metric with its reduction, such as val/accuracy:best"
    )
    reference: Union[JobId, None] = Field(
        None,
        description="a job of the group that others are compared with; default: of the first one "
        "that has a value",
    )


class ComparedRun(BaseModel):
    """A run, as far as its curves need it."""

    id: str
    name: Union[str, None]
    owner: str
    state: str
    seed: int
    study: Union[str, None]
    study_name: Union[str, None]
    group: int = Field(description="its place in the list of groups")
    updates_per_epoch: Union[float, None] = Field(description="null where it is not known yet")
    samples_per_update: int


class PairedDifference(BaseModel):
    """A group minus the reference, paired by seed."""

    n: int = Field(description="seeds that both have")
    mean: float
    low: Union[float, None] = Field(description="of the 95 % interval by Student's t")
    high: Union[float, None]
    p: Union[float, None] = Field(
        description="of the paired t test, two-sided; null for fewer than two seeds, or no spread"
    )
    p_adjusted: Union[float, None] = Field(description="after Holm, for all groups together")


class ComparedGroup(BaseModel):
    """Runs that differ in nothing that they compute but their seed."""

    label: str = Field(description="what tells it apart from the other groups")
    jobs: List[str]
    seeds: List[int]
    repeated: int = Field(description="runs whose seed a newer run of the group has too")
    states: Dict[str, int]
    mean: Union[SeedMean, None]
    values: Dict[int, float] = Field(description="by seed")
    difference: Union[PairedDifference, None] = Field(description="null: the reference itself")
    why: str = Field("", description="why there is no difference, if there is none")


class RunComparison(BaseModel):
    """Runs side by side."""

    metric: str
    runs: List[ComparedRun]
    groups: List[ComparedGroup]
    reference: int
    differing: Dict[str, List[Any]] = Field(description="for each field its value in each group")
    telling: List[str] = Field(
        description="of these fields as many as tell the groups apart; the others follow from them"
    )
    metrics: List[str] = Field(description="that any of the runs has reported")
