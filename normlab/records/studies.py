"""Records of studies and their cells."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Union

from pydantic import BaseModel, Field

from normlab.records.as_html import study_facts
from normlab.specs.studies import StudySpec


class CellRecord(BaseModel):
    """One cell of a study, and the job that fills it."""

    key: str
    coordinates: Dict[str, Any]
    seed: int
    job: Union[str, None]
    state: str = Field(description="of its job, or planned (waits to be queued), or missing")
    reused: bool = Field(description="its job belongs to another study, or to none")


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
    counts: Dict[str, int] = Field(description="cells by the state of their jobs")
    reused: int
    paths: List[str] = Field(description="paths that vary besides the seed")
    reason: Union[str, None] = Field(None, description="why it failed, or does not continue now")
    trashed_at: Union[datetime, None] = Field(None, description="since when it is in the trash")
    note: Union[str, None] = None
    tags: List[str] = []
    archived_at: Union[datetime, None] = Field(
        None, description="since when lists show neither it nor its jobs"
    )

    def _repr_html_(self) -> str:
        return study_facts(self)


class StudyDetail(StudyRecord):
    """A study with its specification and its first cells."""

    spec: StudySpec
    grid: List[CellRecord] = Field(description="the first cells, in the order of the axes")
    next_cursor: Union[str, None] = Field(
        None, description="of `GET /v1/studies/{id}/cells`, for the cells after these"
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

    field: str
    rule: str
    cells: int


class DecisionCost(BaseModel):
    """The cost of deciding: for the first look alone, and for all looks up to the limit."""

    comparisons: int
    least_cells: int = Field(description="compared cells, with the seeds of one look")
    least_epochs: int
    least_s: Union[float, None]
    least_estimate: str
    most_cells: int = Field(description="with `at_most` seeds")
    most_epochs: int
    most_s: Union[float, None]
    most_estimate: str
    largest_sd: float = Field(
        description="of the differences, at which an effect of `by` shows with the requested power"
    )


class StudyPreview(BaseModel):
    """A preview of what a study would run."""

    cells: int
    excluded: int = Field(description="combinations that a rule of `exclude` leaves out")
    identical: int = Field(description="combinations that compute the same as another cell")
    reusable: int = Field(
        description="cells that other jobs of this owner have filled, in this project"
    )
    priority: int
    epochs: int = Field(description="of all cells that would run")
    steps: Union[int, None]
    estimated_s: Union[float, None] = Field(
        description="running time of all cells one after another; null if it is unknown"
    )
    estimated_from: str = Field(description="the source of the estimate")
    estimate: str = Field("", description="both in words")
    decision: Union[DecisionCost, None] = Field(None, description="of a study that decides")
    packs: int = Field(0, description="of the cells that would run, as `pack` asks")
    packed: int = Field(0, description="cells in packs")
    pack_gain: Union[float, None] = Field(
        None, description="how many times as fast the packed cells are, by a model or a measurement"
    )
    pack_obstacles: List[PackObstacle] = Field(
        [], description="reasons why cells cannot train together"
    )
    refused_cells: int = Field(0, description="cells that would be refused")
    refused: List[Refusal] = Field(description="the first of them, with the reasons")
    first: List[CellRecord] = Field(
        description="the first cells, as an example; a reused one with the job that filled it"
    )


class TrialRecord(BaseModel):
    """One trial."""

    number: int = Field(description="counted from 0, in the order of proposals")
    job: str
    state: str = Field(description="of its job; pruned: stopped early")
    coordinates: Dict[str, Any] = Field(description="path to value")
    labels: Dict[str, str] = Field(description="coordinates as people read them")
    value: Union[float, None] = Field(description="the last value of the metric, if there is one")
    best: Union[float, None] = Field(description="best value of the succeeded trials up to here")


class SearchHistory(BaseModel):
    """The trials of a search."""

    study: str
    metric: str
    goal: str
    paths: List[str] = Field(description="of the space, in its order")
    logarithmic: List[str] = Field(description="paths that are drawn on a logarithmic scale")
    trials: List[TrialRecord]
    best: Union[int, None] = Field(description="number of the best succeeded trial")
    importance: Dict[str, float] = Field(
        description="path to its share of what separates good trials from the others; together 1; "
        "empty where `why` says why it is not known"
    )
    why: str = ""
