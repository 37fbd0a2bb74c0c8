"""Comparisons of runs: the fields that differ, and differences of a number, seed by seed."""

from __future__ import annotations

from typing import Any, Dict, List, Union

from pydantic import BaseModel, ConfigDict, Field

from normlab.not_finite import Name
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
        description="a job of the group that the others are compared with; default: a job of "
        "the first group that has a value",
    )
    leave_out_gone: bool = Field(
        False,
        description="whether runs that do not exist, are in the trash or are out of sight are "
        "left out and listed in `gone`; otherwise they are refused",
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
    updates_per_epoch: Union[float, None] = Field(description="null if it is not known yet")
    samples_per_update: int


class PairedDifference(BaseModel):
    """A group minus the reference, paired by seed."""

    n: int = Field(description="number of seeds that both have")
    excluded: Dict[int, Name] = Field(
        default_factory=dict,
        description="seeds that both have, but one of them as NaN or infinity, with this value; "
        "they are not in the difference",
    )
    mean: float
    mean_text: str = Field(
        "",
        description="the mean, rounded to the second digit of half the interval's width; bytes "
        "have a unit, such as MiB",
    )
    low: Union[float, None] = Field(description="lower end of the 95 % interval by Student's t")
    high: Union[float, None]
    p: Union[float, None] = Field(
        description="p-value of the two-sided paired t test; null for fewer than two seeds, or "
        "without spread"
    )
    p_adjusted: Union[float, None] = Field(
        description="p-value after Holm's correction for all groups"
    )


class ComparedGroup(BaseModel):
    """Runs that differ in nothing that they compute but their seed."""

    label: str = Field(description="the values in which it differs from the other groups")
    jobs: List[str]
    seeds: List[int]
    repeated: int = Field(
        description="number of runs that were left out because a newer run of the group has the "
        "same seed"
    )
    states: Dict[str, int]
    mean: Union[SeedMean, None] = Field(description="null if no seed has a finite value")
    values: Dict[int, float] = Field(description="values by seed, of which the mean is")
    excluded: Dict[int, Name] = Field(
        default_factory=dict,
        description="values that are NaN or infinite by seed; no mean can include them",
    )
    difference: Union[PairedDifference, None] = Field(
        description="the difference from the reference; null for the reference itself"
    )
    why: str = Field("", description="the reason if there is no difference")


class RunComparison(BaseModel):
    """Runs side by side."""

    metric: str
    runs: List[ComparedRun]
    groups: List[ComparedGroup]
    reference: int
    differing: Dict[str, List[Any]] = Field(description="the value of each field in each group")
    telling: List[str] = Field(
        description="the fewest of these fields that distinguish the groups; the other fields "
        "follow from them"
    )
    metrics: List[str] = Field(description="metrics that at least one of the runs has reported")
    gone: List[str] = Field(
        [], description="runs that were asked for and left out, because they are not there"
    )
