"""Collect the data for a claim's picture: best values, series of each job, records."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, Protocol, Sequence, Tuple

from normlab.claims.verdicts import ClaimVerdict, Results, best_by_other_seeds
from normlab.presentation.intervals import estimate, smaller_is_better
from normlab.records import DiagnosticRecord, JobDetail, ResultRow, ResultTable, SeriesRecord

Line = Tuple[List[float], List[List[float]]]
"""The x values, and the y values with one row per seed."""


class JobSource(Protocol):
    """The part of a client that reads jobs."""

    @property
    def studies(self) -> Results:
        """The part of a client that reads results of studies."""

    def get(self, job: str) -> JobDetail:
        """Return a job."""

    def metrics(self, job: str, *names: str) -> Dict[str, SeriesRecord]:
        """Return series by name."""

    def diagnostics(self, job: str) -> List[DiagnosticRecord]:
        """Return a job's records."""


def cells(verdict: ClaimVerdict, store: JobSource, metric: str | None = None) -> List[ResultRow]:
    """List the claim's cells, each with its jobs by seed."""
    claim = verdict.claim
    table = store.studies.results(
        verdict.table.study,
        metric=metric or claim.metric,
        reduction=claim.reduction if metric is None else "last",
        confidence=claim.confidence,
    )
    return table.rows


def best_table(verdict: ClaimVerdict, rows: Sequence[ResultRow]) -> ResultTable:
    """Take the best over the claim's `best_over`: one row per setting of the other paths."""
    over = verdict.claim.best_over
    found = [_best_row(name_of(g[0], over), g, verdict) for g in settings(rows, over)]
    return verdict.table.model_copy(update={"group_by": ["setting"], "rows": found})


def settings(rows: Sequence[ResultRow], over: str | None) -> List[List[ResultRow]]:
    """Group the rows that differ only in *over*."""
    groups: Dict[Tuple[str, ...], List[ResultRow]] = {}
    for row in rows:
        rest = tuple(name for path, name in row.labels.items() if path != over)
        groups.setdefault(rest, []).append(row)
    return list(groups.values())


def _best_row(name: str, group: Sequence[ResultRow], verdict: ClaimVerdict) -> ResultRow:
    smaller = smaller_is_better(verdict.claim.metric)
    values = best_by_other_seeds([row.values for row in group], smaller)
    without: Counter[str] = Counter()
    for row in group:
        without.update(row.without)
    e = estimate(list(values.values()), "t", verdict.claim.confidence) if values else None
    coordinates = {p: v for p, v in group[0].coordinates.items() if p != verdict.claim.best_over}
    return group[0].model_copy(
        update={
            "coordinates": {"setting": name, **coordinates},
            "labels": {"setting": name},
            "values": values,
            "n": len(values),
            "failed": sum(row.failed for row in group),
            "without": dict(without),
            "mean_text": "",  # the best value was that of another row
            "half_text": "",
            "mean": e.mean if e else None,
            "sd": e.sd if e else None,
            "low": e.low if e else None,
            "high": e.high if e else None,
        }
    )


def name_of(row: ResultRow, without: str | None = None) -> str:
    """Name a cell for a legend, without one of its paths: `batch @ 0.1`, `batch_size 8`."""
    kept = {p: text for p, text in row.labels.items() if p != without and text != "None"}
    if "normalizer" not in kept:
        return ", ".join(f"{path.rpartition('.')[2]} {text}" for path, text in kept.items())
    start = " from its twin" if "twin=" in kept.get("init_from", "") else ""
    if start:  # the changes of the twin are in the table; they would not fit into a legend
        del kept["init_from"]
    return " @ ".join([short(kept.pop("normalizer")) + start, *kept.values()])


def readable(table: ResultTable) -> ResultTable:
    """Write the source of weights in words: `its twin` if there is only one, or `fresh weights`."""
    path = "init_from"
    if path not in table.group_by:
        return table
    said = {row.labels[path]: _origin(row.labels[path]) for row in table.rows}
    if len(set(said.values())) < len(said):  # with two kinds of twins, name their settings
        return table
    rows = [row.model_copy(update={"labels": {**row.labels, path: said[row.labels[path]]}})
            for row in table.rows]  # fmt: skip
    return table.model_copy(update={"rows": rows})


def _origin(label: str) -> str:
    return "its twin" if "twin=" in label else "fresh weights" if label == "None" else label


def short(label: str) -> str:
    """Shorten the label of a normalizer: `batch(virtual_batch_size=4)` becomes `batch over 4`."""
    head, _, rest = label.partition("(")
    inside, _, tail = rest.partition(")")
    options = dict(o.split("=", 1) for o in inside.split(", ") if "=" in o)
    options.pop("proxy_weight_decay", None)
    over = options.pop("virtual_batch_size", None)
    text = head + (f"({', '.join(f'{k}={v}' for k, v in options.items())})" if options else "")
    return text + (f" over {over}" if over else "") + tail.replace("+proxy", " + proxy")


def lines(store: JobSource, row: ResultRow, metrics: Sequence[str]) -> Dict[str, Line]:
    """Collect the curves of *metrics* of the cell's jobs, at their common steps."""
    found = [store.metrics(job, *metrics) for job in _jobs(row)]
    return {m: _aligned([series[m] for series in found]) for m in metrics if found}


def _aligned(series: Sequence[SeriesRecord]) -> Line:
    points: List[Mapping[int, Any]] = [dict(zip(s.steps, s.numbers())) for s in series]
    shared = set.intersection(*(set(p) for p in points)) if points else set()
    steps = sorted(s for s in shared if all(math.isfinite(p[s]) for p in points))
    return [float(s) for s in steps], [[float(p[s]) for s in steps] for p in points]


def ablations(store: JobSource, row: ResultRow, clamp: str) -> Line:
    """Collect the accuracy against the share of clamped channels."""
    curves = [
        record.record[clamp]
        for job in _jobs(row)
        for record in store.diagnostics(job)
        if record.name == "ablation"
    ]
    return (curves[0]["fractions"], [c["mean"] for c in curves]) if curves else ([], [])


def last_values(store: JobSource, row: ResultRow, prefix: str) -> Dict[str, List[float]]:
    """Collect the last values of the metrics that begin with *prefix*: one per seed."""
    found: Dict[str, List[float]] = {}
    for job in _jobs(row):
        for name, last in store.get(job).last.items():
            if name.startswith(prefix) and math.isfinite(last.number()):
                found.setdefault(name[len(prefix) :], []).append(last.number())
    return found


def _jobs(row: ResultRow) -> Iterator[str]:
    for seed, job in row.jobs.items():
        if row.states.get(seed) == "succeeded":
            yield job
