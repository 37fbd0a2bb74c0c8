"""The columns that filters of jobs can name, besides the fields of specifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Double, Text, cast, func, literal_column, or_, select

from service.store import schema

_j = schema.job.c
_s = schema.study.c
STUDY_NAME = select(_s.name).where(_s.id == _j.study).correlate(schema.job).scalar_subquery()
# the cells of a study have its name, unless its base sets another
NAME: ColumnElement[str] = func.coalesce(_j.name, STUDY_NAME)
# those of its study too
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
