"""Compare runs: the fields in which they differ, and one number, paired by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.not_finite import Name, tallied
from normlab.presentation.digits import shown
from normlab.presentation.intervals import estimate
from normlab.presentation.paired_tests import excluded_of, holm, paired_t
from normlab.records.comparing import (
    ComparedGroup,
    ComparedRun,
    CompareQuestion,
    PairedDifference,
    RunComparison,
)
from normlab.records.results import half_width
from normlab.records.tables import JobsQuestion
from normlab.specs.cells import label
from normlab.specs.differences import differing
from normlab.specs.measures import is_timing
from service.jobs.columns import FIXED, Column, column
from service.results import seed_groups
from service.results.gone_runs import possible, refuse, stored_form
from service.results.seed_groups import BySeed, SeedGroup
from service.store import schema
from service.store.database import Database

MOST = 100
_j = schema.job.c
_SHOWN = ("name", "owner", "study", "steps", "epochs", "samples_per_update")
_ALL = text("""
    select distinct k.name from metric_last l join metric_key k on k.id = l.key
    where l.job = any(:jobs) order by 1
""")
_KIND = "normalizer.kind"


def compare(database: Database, question: CompareQuestion) -> RunComparison:
    """
    Compare runs of any studies: each group has the runs that differ only in their seed.

    Raises:
        InvalidSpec: more than MOST runs, no number to compare, or a reference that is not among
            them.
        NotFound: a run does not exist; with missing runs left out, only if none exists.
    """
    jobs = list(dict.fromkeys(map(stored_form, question.jobs)))
    if len(jobs) > MOST:
        raise _too_many(len(jobs))
    asked = possible(jobs) if question.leave_out_gone else jobs
    by = column(question.metric, "metric")
    if by.metric is None:
        rule = f"must be a metric such as val/accuracy or val/accuracy:best, not {by.name}"
        raise InvalidSpec(f"metric: {rule}", [FieldProblem("metric", rule)])
    columns = (by, *(_shown(name) for name in _SHOWN), Column("of", "text", _j.study))
    with database.autocommit() as connection:
        groups = seed_groups.read(connection, JobsQuestion(jobs=asked), columns) if asked else []
        metrics = list(connection.execute(_ALL, {"jobs": _ids(groups)}).scalars())
    gone = _gone(jobs, groups)
    refuse(question, jobs, gone)
    groups.sort(key=lambda group: min(jobs.index(str(row.id)) for row in group.rows))
    timing = is_timing(by.metric)
    values = [seed_groups.by_seed_of(g.rows, seed_groups.FIRST, timing=timing) for g in groups]
    at = _reference(question, gone, groups, values)
    fields = _differences(groups)
    telling = _telling(fields, len(groups))
    labels = [_label(telling, fields, i) for i in range(len(groups))]
    return RunComparison(
        metric=by.name,
        runs=[_run(row, i) for i, group in enumerate(groups) for row in group.rows],
        groups=_compared(groups, values, at, labels, by.metric),
        reference=at,
        differing=fields,
        telling=telling,
        metrics=metrics,
        gone=gone,
    )


def _too_many(found: int) -> InvalidSpec:
    rule = (
        f"{found:,} runs are too many; at most {MOST} can be compared at once; choose fewer, or "
        "group the table over seeds, which compares any number of runs by their means"
    )
    return InvalidSpec(f"jobs: {rule}", [FieldProblem("jobs", rule)])


def _shown(name: str) -> Column:
    return column(name) if name in FIXED else Column(name, "number", _j[name])


def _ids(groups: Sequence[SeedGroup]) -> list[Any]:
    return [row.id for group in groups for row in group.rows]


def _gone(jobs: Sequence[str], groups: Sequence[SeedGroup]) -> list[str]:
    found = set(map(str, _ids(groups)))
    return [job for job in jobs if job not in found]


def _reference(
    question: CompareQuestion,
    gone: Sequence[str],
    groups: Sequence[SeedGroup],
    values: Sequence[BySeed],
) -> int:
    wanted = None if question.reference is None else stored_form(question.reference)
    if wanted is None or wanted in gone:
        return next((i for i, found in enumerate(values) if found.values), 0)
    for i, group in enumerate(groups):
        if wanted in {str(row.id) for row in group.rows}:
            return i
    rule = f"must be one of the runs that are compared, not {question.reference!r}"
    raise InvalidSpec(f"reference: {rule}", [FieldProblem("reference", rule)])


def _differences(groups: Sequence[SeedGroup]) -> dict[str, list[Any]]:
    """Find the fields that differ; an option that some kinds lack comes after the kind."""
    found = differing([group.spec for group in groups])
    return dict(sorted(found.items(), key=lambda field: field[0] != _KIND))


def _telling(fields: Mapping[str, list[Any]], groups: int) -> list[str]:
    """Choose fields until their values tell all groups apart."""
    chosen: list[str] = []
    looks = [""] * groups
    for path, found in fields.items():
        finer = [f"{look} {label(value)}" for look, value in zip(looks, found, strict=True)]
        if len(set(finer)) > len(set(looks)):
            chosen.append(path)
            looks = finer
    return chosen


def _label(telling: Sequence[str], fields: Mapping[str, list[Any]], group: int) -> str:
    return ", ".join(_said(path, fields[path][group]) for path in telling) or "all runs"


def _said(path: str, value: Any) -> str:
    name = path.rpartition(".")[2]
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if isinstance(value, int | float):
        return f"{name} {label(value)}"
    return f"no {name}" if value is None else label(value)


def _run(row: Any, group: int) -> ComparedRun:
    _, name, owner, study_name, steps, epochs, samples, study = row[-8:]
    return ComparedRun(
        id=str(row.id),
        name=name,
        owner=owner,
        state=row.state,
        seed=row.seed,
        study=None if study is None else str(study),
        study_name=study_name,
        group=group,
        updates_per_epoch=steps / epochs if steps and epochs else None,
        samples_per_update=samples,
    )


def _compared(
    groups: Sequence[SeedGroup],
    values: Sequence[BySeed],
    at: int,
    labels: Sequence[str],
    metric: str,
) -> list[ComparedGroup]:
    pairs = [_pairs(found, values[at]) if i != at else [] for i, found in enumerate(values)]
    excluded = [excluded_of(found, values[at]) for found in values]
    ps = [paired_t(found) for found in pairs]
    adjusted = holm(ps)
    means = seed_groups.with_digits([seed_groups.mean_of(found) for found in values], metric)
    differences = [_difference(*of) for of in zip(pairs, excluded, ps, adjusted, strict=True)]
    beside = [found.mean for found in means if found is not None]
    return [
        ComparedGroup(
            label=labels[i],
            jobs=[str(row.id) for row in group.rows],
            seeds=sorted({row.seed for row in group.rows}),
            repeated=len(group.rows) - len({row.seed for row in group.rows}),
            states=dict(Counter(row.state for row in group.rows)),
            mean=means[i] if values[i].values else None,
            values=dict(values[i].values),
            excluded=dict(values[i].excluded),
            difference=_with_digits(differences[i], metric, beside),
            why=_why(i == at, values[i], values[at], pairs[i]),
        )
        for i, group in enumerate(groups)
    ]


def _pairs(found: BySeed, other: BySeed) -> list[float]:
    shared = sorted(set(found.values) & set(other.values))
    return [found.values[seed] - other.values[seed] for seed in shared]


def _difference(
    pairs: Sequence[float],
    excluded: Mapping[int, Name],
    p: float | None,
    adjusted: float | None,
) -> PairedDifference | None:
    if not pairs:
        return None
    found = estimate(pairs)
    return PairedDifference(
        n=found.n,
        excluded=dict(excluded),
        mean=found.mean,
        low=found.low,
        high=found.high,
        p=p,
        p_adjusted=adjusted,
    )


def _with_digits(
    found: PairedDifference | None, metric: str, beside: Sequence[float | None]
) -> PairedDifference | None:
    if found is None:
        return None
    (text,) = shown([(found.mean, half_width(found.low, found.high))], metric, beside)
    return found.model_copy(update={"mean_text": text.mean})


def _why(reference: bool, found: BySeed, other: BySeed, pairs: Sequence[float]) -> str:
    if reference:
        return "the reference"
    for side, where in ((found, ""), (other, " in the reference")):
        if not side.values and side.excluded:
            return f"no run has a finite number{where}: {tallied(side.excluded.values())}"
        if not side.values:
            return f"no succeeded run has this number{where}"
    excluded = excluded_of(found, other)
    if not pairs and excluded:
        return f"no seed with a finite number on both sides: {tallied(excluded.values())}"
    if not pairs:
        return "no seed in common with the reference"
    return "only one seed in common, so there is no interval and no test" if len(pairs) == 1 else ""
