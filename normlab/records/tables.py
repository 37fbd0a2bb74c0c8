"""Questions for tables of jobs, and the tables: chosen columns of many jobs, by job or by seeds."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import Annotated

from normlab.not_finite import DESCRIPTION, Name, Places
from normlab.specs.base import Label

MOST_COLUMNS, MOST_JOBS, MOST_SKIPPED = 60, 1000, 10_000_000
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=220)]
JobId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ColumnKind = Literal["text", "number", "moment", "truth", "field"]


class JobsQuestion(BaseModel):
    """The jobs of a question: those that a filter finds, or only the named ones, if any."""

    model_config = ConfigDict(extra="forbid")

    filter: Union[str, None] = Field(
        None,
        max_length=2000,
        description="an expression such as: normalizer = online and val/accuracy > 0.9",
    )
    jobs: Union[List[JobId], None] = Field(None, min_length=1, max_length=MOST_JOBS)


class TableQuestion(JobsQuestion):
    """The columns, jobs and order of a table, and where its page begins."""

    columns: List[ColumnName] = Field(
        min_length=1,
        max_length=MOST_COLUMNS,
        description="a column of lists, a field of the specification such as optimizer.lr, or a "
        "metric with a reduction: val/accuracy (the last value), val/accuracy:best, :min, :max "
        "or :mean",
    )
    sort: ColumnName = Field(
        "-created_at", description="the column to sort by; a minus in front lists the largest first"
    )
    cursor: Union[str, None] = Field(
        None, max_length=2000, description="the `next_cursor` of a page with the same order"
    )
    skip: int = Field(
        0, ge=0, le=MOST_SKIPPED, description="number of rows to skip after the cursor"
    )
    limit: int = Field(100, ge=1, le=1000)
    count: bool = Field(False, description="whether all jobs that match the filter are counted")


class ExportQuestion(JobsQuestion):
    """The columns and jobs to write to a file, and its format."""

    columns: List[ColumnName] = Field(min_length=1, max_length=MOST_COLUMNS)
    sort: ColumnName = "-created_at"
    form: Literal["csv", "json"] = "csv"


class GroupQuestion(JobsQuestion):
    """The columns and jobs to average over seeds."""

    columns: List[ColumnName] = Field(min_length=1, max_length=MOST_COLUMNS)


class ColumnRecord(BaseModel):
    """A column of a table."""

    name: str
    kind: ColumnKind


class TableRow(BaseModel):
    """One job, with a value for each column."""

    id: str
    state: str
    owner: str
    values: List[Any] = Field(description="null: the job has no value, or `not_finite` has it")
    not_finite: Places = Field({}, description=DESCRIPTION)


class TableRecord(BaseModel):
    """Some rows of a table, and the cursor of the next ones."""

    columns: List[ColumnRecord]
    rows: List[TableRow]
    next_cursor: Union[str, None]
    total: Union[int, None] = Field(
        None, description="number of all jobs that match the filter, if it was asked for"
    )
    gone: List[str] = Field([], description="requested metrics that no job has ever reported")


class SeedMean(BaseModel):
    """A number averaged over seeds: of the newest succeeded job of each seed."""

    n: int = Field(description="number of seeds that have a finite value")
    excluded: Dict[int, Name] = Field(
        default_factory=dict,
        description="values that are NaN or infinite by seed; no mean can include them",
    )
    mean: Union[float, None] = Field(description="null if no seed has a finite value")
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
    low: Union[float, None] = Field(description="lower end of the 95 % interval by Student's t")
    high: Union[float, None]


class GroupRow(BaseModel):
    """Jobs that differ in nothing that they compute but their seed."""

    jobs: List[str] = Field(description="jobs, the newest first")
    seeds: List[int]
    states: Dict[str, int]
    values: List[Any] = Field(
        description="for each column, a SeedMean, a value that all jobs share, or {varies: [...]}"
    )


class GroupTable(BaseModel):
    """Jobs in groups whose members differ only in their seeds."""

    columns: List[ColumnRecord]
    rows: List[GroupRow]
    gone: List[str] = Field([], description="requested metrics that no job has ever reported")
    differing: Dict[str, List[Any]] = Field(
        description="fields in which groups differ and that no column shows, with their values"
    )


class Changed(BaseModel):
    """The jobs that were changed, and the reasons why others were not."""

    done: List[str]
    refused: Dict[str, str]


class SeveralJobs(BaseModel):
    """The jobs of a request that changes several."""

    model_config = ConfigDict(extra="forbid")

    jobs: List[JobId] = Field(min_length=1, max_length=MOST_JOBS)


class FieldRecord(BaseModel):
    """A name that filters and tables know."""

    name: str
    kind: str = Field(description="what it is: a column, a field or a metric")
    type: str = ""
    description: str = ""
    choices: List[str] = []


class FieldList(BaseModel):
    """The names that filters and tables know: columns, fields of the specification, metrics."""

    fields: List[FieldRecord]
    more_metrics: bool = Field(False, description="whether there are more metrics than are listed")


class ViewContent(BaseModel):
    """The columns in their order, the pinned ones, the order of rows, the filter, the grouping."""

    model_config = ConfigDict(extra="forbid")

    columns: List[ColumnName] = Field(min_length=1, max_length=MOST_COLUMNS)
    pinned: List[ColumnName] = Field([], max_length=MOST_COLUMNS)
    sort: ColumnName = "-created_at"
    filter: Union[str, None] = Field(None, max_length=2000)
    grouped: bool = Field(False, description="statistics over seeds")


class NewView(BaseModel):
    """A view to save under a name."""

    model_config = ConfigDict(extra="forbid")

    name: Label = Field(min_length=1, max_length=100)
    content: ViewContent


class ViewRecord(BaseModel):
    """A saved view; anybody who may read jobs can open it, its owner can change it."""

    id: str
    owner: str
    name: str
    content: ViewContent
    changed_at: datetime


class ViewList(BaseModel):
    """The views of one owner, by name."""

    views: List[ViewRecord]
