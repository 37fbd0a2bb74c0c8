"""The names that filters and tables know, for people who choose one and for completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from sqlalchemy import ColumnElement, select, text, true

from normlab.records.tables import FieldList, FieldRecord
from normlab.specs.datasets import DATASETS
from normlab.specs.devices import KINDS
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.normalizers import BY_KIND
from normlab.specs.options import OptionRecord, options
from service.jobs.columns import FIXED, column, known_fields
from service.store import schema
from service.store.database import Database
from service.store.sight import IN_SIGHT, current

_MOST_METRICS = 2000
_MOST_TAGS = 500
_TAGS = text(f"""
    select distinct unnest(tags) as tag from (
        select tags from job where tags <> '{{}}' and {IN_SIGHT.format(project="project")}
        union all
        select tags from study where tags <> '{{}}' and {IN_SIGHT.format(project="project")}
    ) labelled order by tag limit {_MOST_TAGS}
""")
_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
_MEANINGS = {
    "created_at": "when it was submitted",
    "duration": "seconds from its start to its end, or until now",
    "running_s": "seconds of running time over all attempts",
    "study": "the name of its study",
    "tag": "a tag of it, or of its study",
    "archived": "whether it, or its study, is archived",
    "samples_per_update": "samples whose gradients one update averages",
}


def names(database: Database) -> FieldList:
    """List the columns of jobs, the fields of their specification, and metrics in sight."""
    key = schema.metric_key.c
    with database.autocommit() as connection:
        query = select(key.name).where(reported_in_sight()).order_by(key.name)
        query = query.limit(_MOST_METRICS + 1)
        metrics = list(connection.execute(query).scalars())
        tags = list(connection.execute(_TAGS, current().values).scalars())
    fields = [FieldRecord(name=name, kind="metric", type="number") for name in metrics]
    return FieldList(
        fields=[*_columns(tags), *_of_spec(), *fields[:_MOST_METRICS]],
        more_metrics=len(metrics) > _MOST_METRICS,
    )


def reported_in_sight() -> ColumnElement[bool]:
    """Whether a job in sight has reported the metric of a row of `metric_key`."""
    if current().projects is None:
        return true()
    last = schema.metric_last.c
    of_jobs = schema.metric_last.join(schema.job, schema.job.c.id == last.job)
    found = select(last.key).select_from(of_jobs).where(current().condition(schema.job.c.project))
    return schema.metric_key.c.id.in_(found)


def _columns(tags: Sequence[str]) -> list[FieldRecord]:
    choices = {
        "tag": [*tags],
        "archived": ["true", "false"],
        "state": list(_STATES),
        "device": list(KINDS),
        "normalizer": list(BY_KIND),
        "model": list(MODELS),
        "dataset": list(DATASETS),
        "proxy": ["true", "false"],
    }
    return [
        FieldRecord(
            name=name,
            kind="column",
            type=column(name).kind,
            description=_MEANINGS.get(name, ""),
            choices=choices.get(name, []),
        )
        for name in FIXED
    ]


def _of_spec() -> list[FieldRecord]:
    own = _own_options()
    return [
        FieldRecord(
            name=path,
            kind="field",
            type=own[path].type if path in own else "",
            description=own[path].description if path in own else "",
            choices=(own[path].choices or []) if path in own else [],
        )
        for path in known_fields()
        if path not in FIXED
    ]


@cache  # cached by class: making its schema takes longer than all queries of the database here
def _own_options() -> Mapping[str, OptionRecord]:
    return {option.name: option for option in options(JobSpec)}
