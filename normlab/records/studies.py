"""Records of studies and their cells."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Union

from pydantic import BaseModel, Field

from normlab.not_finite import DESCRIPTION, Places
from normlab.records.as_html import study_facts
from normlab.specs.studies import StudySpec


class CellRecord(BaseModel):
    """One cell of a study, and the job that fills it."""

    key: str
    coordinates: Dict[str, Any]
    seed: int
    job: Union[str, None]
    state: str = Field(
        description="state of its job, or planned (it waits to be queued), or missing"
    )
    reused: bool = Field(description="whether its job belongs to another study, or to none")


class StudyRecord(BaseModel):
    """A study as in lists."""

    id: str
    name: str
    owner: str
    project: str = "default"
    state: str = Field(
        description="active, paused, cancelled, failed, or complete: every cell succeeded; "
        "queueing while cells are planned, and cancelling while some have not been cancelled yet"
    )
    created_at: datetime
    cells: int
    counts: Dict[str, int] = Field(description="number of cells by the state of their jobs")
    reused: int
    paths: List[str] = Field(description="paths that vary besides the seed")
    reason: Union[str, None] = Field(
        None, description="the reason why it failed, or why it does not continue now"
    )
    trashed_at: Union[datetime, None] = Field(None, description="when it was moved to the trash")
    note: Union[str, None] = None
    tags: List[str] = []
    archived_at: Union[datetime, None] = Field(
        None, description="when it was archived; lists show neither it nor its jobs since then"
    )

    def _repr_html_(self) -> str:
        return study_facts(self)


class StudyDetail(StudyRecord):
    """A study with its specification and its first cells."""

    spec: StudySpec
    grid: List[CellRecord] = Field(description="the first cells, in the order of the axes")
    next_cursor: Union[str, None] = Field(
        None, description="cursor of `GET /v1/studies/{id}/cells` for the cells after these"
    )


class CellPage(BaseModel):
    """Some cells of a study, and the cursor of the next page."""

    cells: List[CellRecord]
    next_cursor: Union[str, None]


class StudyPage(BaseModel):
    """Some studies, and the cursor of the next page."""

    studies: List[StudyRecord]
    next_cursor: Union[str, None]


class Refusal(BaseModel):
    """A cell that would be refused, and why."""

    coordinates: Dict[str, Any]
    problems: List[Dict[str, str]]


class PackObstacle(BaseModel):
    """A reason why cells train alone, or in separate packs."""

    field: str = Field(description="the field, or several fields with commas")
    rule: str
    cells: int
    alone: bool = Field(
        True, description="whether these cells train alone; false: they train in separate packs"
    )


class DecisionCost(BaseModel):
    """The cost of deciding: for the first look alone, and for all looks up to the limit."""

    comparisons: int
    least_cells: int = Field(description="number of compared cells with the seeds of one look")
    least_epochs: int
    least_s: Union[float, None]
    least_estimate: str
    most_cells: int = Field(description="number of compared cells with `at_most` seeds")
    most_epochs: int
    most_s: Union[float, None]
    most_estimate: str
    largest_sd: float = Field(
        description="largest standard deviation of the differences with which an effect of size "
        "`by` is detected with the requested power"
    )


class StudyPreview(BaseModel):
    """A preview of what a study would run."""

    cells: int
    excluded: int = Field(description="number of combinations that a rule of `exclude` leaves out")
    identical: int = Field(
        description="number of combinations that compute the same as another cell"
    )
    idle_rules: List[Dict[str, Any]] = Field(
        [], description="rules of `exclude` that match no combination, perhaps by mistake"
    )
    reusable: int = Field(
        description="number of cells that other jobs of this owner have computed in this project"
    )
    priority: int
    epochs: int = Field(description="number of epochs of all cells that would run")
    steps: Union[int, None]
    estimated_s: Union[float, None] = Field(
        description="running time of all cells one after another; null if it is unknown"
    )
    estimated_from: str = Field(description="the source of the estimate")
    estimate: str = Field(
        "", description="the running time in words, with the source of the estimate"
    )
    decision: Union[DecisionCost, None] = Field(
        None, description="the cost of deciding, if the study decides"
    )
    packs: int = Field(0, description="number of packs of the cells that would run")
    packed: int = Field(0, description="number of cells that would train in packs")
    alone: int = Field(
        0, description="number of cells that would train alone, although `pack` allows packs"
    )
    pack_gain: Union[float, None] = Field(
        None,
        description="how many times as fast the cells in packs are, by a model or a measurement",
    )
    pack_obstacles: List[PackObstacle] = Field(
        [], description="reasons why cells train alone or in separate packs"
    )
    refused_cells: int = Field(0, description="number of cells that would be refused")
    refused: List[Refusal] = Field(description="the first refused cells, with the reasons")
    first: List[CellRecord] = Field(
        description="the first cells, as an example; reused cells have the job that computed them"
    )


class TrialRecord(BaseModel):
    """One trial."""

    number: int = Field(description="number of the trial, counted from 0 in the order of proposals")
    job: str
    state: str = Field(description="state of its job; pruned: it was stopped early")
    coordinates: Dict[str, Any] = Field(description="values by path")
    labels: Dict[str, str] = Field(description="coordinates as people read them")
    value: Union[float, None] = Field(description="the last value of the metric, if there is one")
    best: Union[float, None] = Field(
        description="best finite value of the succeeded trials up to this one"
    )
    not_finite: Places = Field({}, description=DESCRIPTION)


class SearchHistory(BaseModel):
    """The trials of a search."""

    study: str
    metric: str
    goal: str
    paths: List[str] = Field(description="paths of the search space, in its order")
    logarithmic: List[str] = Field(description="paths that are drawn on a logarithmic scale")
    trials: List[TrialRecord]
    best: Union[int, None] = Field(description="number of the best succeeded trial")
    importance: Dict[str, float] = Field(
        description="for each path, its share of the difference between good trials and the "
        "others; all shares add up to 1; empty if the importance is not known, for the reason "
        "in `why`"
    )
    why: str = ""
