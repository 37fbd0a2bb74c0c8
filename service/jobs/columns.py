"""The columns of tables of jobs, by name: of the list, of the specification, and of metrics."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    SmallInteger,
    Text,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records.tables import ColumnKind
from normlab.specs.jobs import JobSpec
from normlab.specs.problems import field_names
from service.jobs.metric_values import REDUCTIONS, of_one_job
from service.store import schema

_j = schema.job.c
_s = schema.study.c
STUDY_NAME = select(_s.name).where(_s.id == _j.study).correlate(schema.job).scalar_subquery()
# the cells of a study have its name, unless its base sets another
NAME: ColumnElement[str] = func.coalesce(_j.name, STUDY_NAME)
# the tags of its study too
TAGS: ColumnElement[str] = literal_column(
    "(select string_agg(distinct t, ', ' order by t) from unnest(job.tags || coalesce("
    "(select s.tags from study s where s.id = job.study), '{}')) t)",
    Text,
)
_archived_studies = select(_s.id).where(_s.archived_at.isnot(None))
ARCHIVED: ColumnElement[bool] = or_(
    _j.archived_at.isnot(None), func.coalesce(_j.study.in_(_archived_studies), False)
)
"""Whether a job, or its study, is archived."""
COLUMNS: Mapping[str, ColumnElement[Any]] = {
    name: schema.job.c[name]
    for name in (
        "owner", "project", "state", "device", "runtime", "packed", "normalizer", "proxy", "model",
        "dataset", "batch_size", "samples_per_update", "seed", "priority", "attempt", "step",
        "epoch", "epochs", "worker", "fingerprint",
    )
} | {
    "name": NAME,
    "study": cast(_j.study, Text),
    "id": cast(_j.id, Text),
    "failure_kind": _j.error["failure_kind"].astext,
    "running_s": cast(_j.ran_s, Double),
    "note": _j.note,
    "tag": TAGS,
    "archived": ARCHIVED,
}  # fmt: skip
"""The columns that filters can name, besides the fields of specifications."""
_NOW = func.coalesce(_j.finished_at, func.now())
FIXED: Mapping[str, ColumnElement[Any]] = {
    **COLUMNS,
    "study": STUDY_NAME,
    "created_at": _j.created_at,
    "started_at": _j.started_at,
    "finished_at": _j.finished_at,
    "duration": cast(func.extract("epoch", _NOW - _j.started_at), Double),
}
"""The columns that every job has, besides its specification."""
_REQUIRED = {"created_at", "owner", "state", "normalizer", "batch_size", "seed", "id"}


@dataclass(frozen=True)
class Column:
    """A column of a table: its SQL for a row of the table of jobs."""

    name: str
    kind: ColumnKind
    value: ColumnElement[Any]
    metric: str | None = None
    """The metric that it shows."""
    reduction: str = "last"
    """The reduction of the metric."""

    @property
    def required(self) -> bool:
        """Whether every job has a value."""
        return self.name in _REQUIRED


def column(name: str, field: str = "columns") -> Column:
    """
    Return the column *name*.

    Raises:
        InvalidSpec: there is no such column; the problem is with *field*.
    """
    if name in FIXED:
        return Column(name, _kind(FIXED[name]), FIXED[name])
    metric, reduction = metric_of(name)
    if metric is not None:
        return Column(name, "number", of_one_job(metric, reduction), metric, reduction)
    if name not in known_fields():
        near = difflib.get_close_matches(name, [*FIXED, *known_fields()], n=3, cutoff=0.4)
        rule = f"{name!r} is not a column: {_nearest(near)}, or a metric such as val/accuracy:best"
        raise InvalidSpec(f"{field}: {rule}", [FieldProblem(field, rule)])
    return Column(name, "field", _j.spec[tuple(name.split("."))])


def _nearest(near: list[str]) -> str:
    return f"the nearest are {', '.join(near)}" if near else "use a field such as optimizer.lr"


def metric_of(name: str) -> tuple[str | None, str]:
    """Divide `val/accuracy:best` into the metric and its reduction; None: no metric."""
    metric, _, reduction = name.rpartition(":")
    if not metric or reduction not in REDUCTIONS:
        metric, reduction = name, "last"
    return (metric if "/" in metric else None), reduction


@cache
def known_fields() -> Mapping[str, None]:
    """List the dotted names of a job's fields, in their order."""
    return dict.fromkeys(field_names(JobSpec))


def _kind(value: ColumnElement[Any]) -> ColumnKind:
    if isinstance(value.type, DateTime):
        return "moment"
    if isinstance(value.type, Boolean):
        return "truth"
    numbers = (Integer, BigInteger, SmallInteger, Double)
    return "number" if isinstance(value.type, numbers) else "text"
