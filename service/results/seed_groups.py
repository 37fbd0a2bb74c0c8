"""Jobs grouped over seeds: in what they compute, those of a group differ only in their seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Row, Text, cast, func, literal, select

from normlab.errors import FieldProblem, InvalidSpec
from normlab.not_finite import Name, name_of
from normlab.presentation.digits import of_none, shown
from normlab.presentation.intervals import estimate
from normlab.records.results import half_width
from normlab.records.tables import GroupQuestion, GroupRow, GroupTable, JobsQuestion, SeedMean
from normlab.specs.cells import label
from normlab.specs.differences import differing
from normlab.specs.jobs import ERRANDS, JobSpec
from normlab.specs.measures import is_timing
from service.jobs.columns import Column, known_fields
from service.jobs.table import columns_of, conditions, few, gone_metrics, record_of
from service.store import patience, schema
from service.store.database import Database

MOST_JOBS, MOST_GROUPS = 10_000, 1_000
_MOST_NAMED = 20
_j = schema.job.c
_LEFT_OUT = sorted({"seed", *ERRANDS})
_ALIKE = func.md5(cast(_j.spec.op("-")(cast(literal(_LEFT_OUT, ARRAY(Text)), ARRAY(Text))), Text))
_HEAD = (_j.id, _j.state, _j.seed, _j.timing_valid, _ALIKE.label("alike"))
FIRST = len(_HEAD)
"""The position of the first column in a row."""
_AVERAGED = {"duration", "running_s"}
_SHOWS = {
    "normalizer": "normalizer.kind", "proxy": "normalizer.proxy", "model": "model.name",
    "dataset": "dataset.name",
}  # fmt: skip
"""Columns of the list that show a field of the specification under another name."""


_OPEN: Mapping[str, Any] = {"sd": None, "low": None, "high": None}


@dataclass(frozen=True)
class BySeed:
    """The values of a group's seeds; separately, by name, those that are NaN or infinite."""

    values: Mapping[int, float]
    excluded: Mapping[int, Name]


@dataclass(frozen=True)
class SeedGroup:
    """Jobs with one specification but for the seed, newest first."""

    spec: Mapping[str, Any]
    """The specification without the seed and without fields that do not change the result."""
    rows: Sequence[Row[Any]]


def table(database: Database, question: GroupQuestion) -> GroupTable:
    """
    Average chosen columns over seeds, and over nothing else.

    Jobs are in one group if their specifications differ in their seeds alone. A group's number
    is the mean over its seeds; of several succeeded jobs with one seed the newest counts.

    Raises:
        InvalidSpec: a column or the filter cannot be used, or there are too many jobs.
    """
    columns = columns_of(tuple(question.columns))
    with database.autocommit() as connection:
        groups = read(connection, question, columns)
        gone = gone_metrics(connection, question, columns)
    by_column = [
        with_digits([_value(g, i, of) for g in groups], of.metric or "")
        for i, of in enumerate(columns)
    ]
    values = [[found[row] for found in by_column] for row in range(len(groups))]
    return GroupTable(
        columns=[record_of(of) for of in columns],
        rows=[_row(group, found) for group, found in zip(groups, values, strict=True)],
        differing=_unseen(groups, columns, values),
        gone=gone,
    )


def read(
    connection: Connection, question: JobsQuestion, columns: Sequence[Column] = ()
) -> list[SeedGroup]:
    """Read the jobs of *question* in groups, in the order of their newest jobs."""
    shown = [of.value.label(f"value{i}") for i, of in enumerate(columns)]
    query = select(*_HEAD, *shown).where(*conditions(question), *few(connection, question))
    query = query.order_by(_j.created_at.desc(), _j.id.desc()).limit(MOST_JOBS + 1)
    rows = connection.execute(query).all()
    if len(rows) > MOST_JOBS:
        raise _too_many(f"more than {MOST_JOBS:,} jobs")
    firsts = {row.alike: row.id for row in reversed(rows)}
    if len(firsts) > MOST_GROUPS:
        raise _too_many(f"{len(firsts):,} different specifications, at most {MOST_GROUPS:,}")
    sciences = _sciences(connection, firsts)
    groups: dict[str, list[Row[Any]]] = {}
    specs: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        key, spec = sciences[row.alike]
        specs[key] = spec
        groups.setdefault(key, []).append(row)
    return [SeedGroup(specs[key], found) for key, found in groups.items()]


def _too_many(found: str) -> InvalidSpec:
    rule = f"{found} cannot be grouped over seeds at once; narrow the filter, by study or by field"
    return InvalidSpec(f"filter: {rule}", [FieldProblem("filter", rule)])


def _sciences(
    connection: Connection, firsts: Mapping[str, UUID]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    # Parsed, so that a specification from before a field existed equals one without the field
    query = select(_j.id, _j.spec).where(_j.id.in_(list(firsts.values())))
    stored = {row.id: row.spec for row in connection.execute(query)}
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for alike, job in firsts.items():
        patience.check()
        spec = JobSpec.from_store({**stored[job], "seed": 0})
        found[alike] = (spec.fingerprint(), spec.model_dump(mode="json", exclude=set(_LEFT_OUT)))
    return found


def _row(group: SeedGroup, values: list[Any]) -> GroupRow:
    return GroupRow(
        jobs=[str(row.id) for row in group.rows],
        seeds=sorted({row.seed for row in group.rows}),
        states=dict(Counter(row.state for row in group.rows)),
        values=values,
    )


def _value(group: SeedGroup, i: int, of: Column) -> Any:
    place = FIRST + i
    if of.metric is None and of.name not in _AVERAGED:
        found = list(dict.fromkeys(_hashable(row[place]) for row in group.rows))
        if len(found) == 1:
            return group.rows[0][place]
        return {"varies": sorted(found, key=_by_type)[:_MOST_NAMED]}
    timing = of.metric is None or is_timing(of.metric)
    return mean_of(by_seed_of(group.rows, place, timing=timing))


def mean_of(by_seed: BySeed) -> SeedMean | None:
    """Average over the seeds with a finite value; None if no seed has a value."""
    if not by_seed.values and not by_seed.excluded:
        return None
    if not by_seed.values:
        said = of_none(by_seed.excluded)
        return SeedMean(n=0, excluded=by_seed.excluded, mean=None, mean_text=said, **_OPEN)
    found = vars(estimate(list(by_seed.values.values())))
    return SeedMean(excluded=by_seed.excluded, **found)


def with_digits(column: Sequence[Any], metric: str) -> list[Any]:
    """Write the means of one *metric* with digits as in the table of a study; leave the rest."""
    means = [value for value in column if isinstance(value, SeedMean) and value.n]
    halves = [(mean.mean, half_width(mean.low, mean.high)) for mean in means]
    texts = iter(shown(halves, metric))
    return [
        value.model_copy(update={"mean_text": text.mean, "half_text": text.half})
        if isinstance(value, SeedMean) and value.n and (text := next(texts))
        else value
        for value in column
    ]


def by_seed_of(rows: Sequence[Row[Any]], place: int, *, timing: bool) -> BySeed:
    """Return the value of each seed's newest succeeded job that has one."""
    found: dict[int, float] = {}
    for row in reversed(rows):  # newer ones replace older ones
        if row.state == "succeeded" and row[place] is not None and (row.timing_valid or not timing):
            found[row.seed] = float(row[place])
    names = {seed: name_of(value) for seed, value in sorted(found.items())}
    return BySeed(
        {seed: found[seed] for seed, name in names.items() if name is None},
        {seed: name for seed, name in names.items() if name is not None},
    )


def _by_type(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value if isinstance(value, str | int | float) else str(value)


def _hashable(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _unseen(
    groups: Sequence[SeedGroup], columns: Sequence[Column], values: Sequence[Sequence[Any]]
) -> dict[str, list[Any]]:
    """Find the fields in which groups differ although all columns of fields show equal values."""
    names = [_SHOWS.get(of.name, of.name) for of in columns]
    shown = set(names)
    paths = {
        path: found
        for path, found in differing([group.spec for group in groups]).items()
        if path not in shown
    }
    science = known_fields().keys() - set(_LEFT_OUT)
    seen = [i for i, name in enumerate(names) if name in science]
    looks = [str([row[i] for i in seen]) for row in values]
    return dict(_varying(paths, looks))


def _varying(
    paths: Mapping[str, list[Any]], looks: Sequence[str]
) -> Iterator[tuple[str, list[Any]]]:
    for path, found in paths.items():
        alike: dict[str, set[str]] = {}
        for look, value in zip(looks, found, strict=True):
            alike.setdefault(look, set()).add(label(value))
        if any(len(labels) > 1 for labels in alike.values()):
            yield path, list({label(value): value for value in found}.values())[:_MOST_NAMED]
