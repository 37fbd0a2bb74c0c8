"""Estimate the time of jobs: from jobs that have finished here, or from a calibrated model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import Connection, text

from normlab.specs.costs import job_s, update_s
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from service.store.database import Database

_ALIKE = "finished jobs of this kind"
_OTHERS = "other finished jobs, scaled by the cost of an update"
_MODEL = "a calibration on one core of a CPU, because no job has finished here yet"
_NOBODY = "unknown, because no job has finished on its device yet"
_FILES = "unknown, because only the files tell how many updates it makes"
_OWN_NETWORK = "unknown, because the cost of a network of your own is not known"
_NEAR = 0.2  # jobs whose updates differ by less than a fifth are equally similar
_OTHER_NETWORK = math.log(2)
_OTHER_KIND = math.log(1.5)

# The newest few of each kind of job, and the newest of all jobs for the speed of the machine.
_HISTORY = text("""
    with alike as (
        select id, row_number() over (
            partition by model, dataset, device, normalizer, batch_size
            order by created_at desc) as place
        from job
        where state = 'succeeded' and step > 0 and ran_s > 0 and timing_valid
            and (model, dataset) in (select * from unnest(
                cast(:models as text[]), cast(:datasets as text[])))
    ), newest as (
        select id from job
        where state = 'succeeded' and step > 0 and ran_s > 0 and timing_valid
        order by created_at desc, id desc limit 100
    )
    select device, spec, step, ran_s from job
    where id in (select id from alike where place <= 5 union select id from newest)
    order by id
""")


@dataclass(frozen=True)
class TimeEstimate:
    """An estimated time and its source; without seconds if there is no estimate."""

    seconds: float | None
    source: str

    @property
    def words(self) -> str:
        """Format it in the same words in every response of the service."""
        if self.seconds is None:
            return f"not known, because {self.source.replace('unknown, because ', '')}"
        return f"about {duration(self.seconds)}, from {self.source}"


@dataclass(frozen=True)
class _Run:
    device: str
    spec: JobSpec
    update_s: float
    ratio: float
    """The measured seconds divided by the seconds of the model."""


class Pace:
    """The finished jobs, from which the time of others is estimated."""

    def __init__(self, connection: Connection, specs: Sequence[JobSpec]) -> None:
        pairs = sorted({(spec.model.name, spec.dataset.name) for spec in specs})
        asked = {"models": [p[0] for p in pairs], "datasets": [p[1] for p in pairs]}
        self._runs = []
        for row in connection.execute(_HISTORY, asked):
            spec = JobSpec.from_store(row.spec)
            predicted, each = job_s(spec, row.step), update_s(spec)
            if predicted is not None and each is not None:
                self._runs.append(_Run(row.device, spec, each, row.ran_s / predicted))
        self._known: dict[tuple[object, ...], TimeEstimate] = {}

    def of(self, spec: JobSpec, device: str, steps: int | None) -> TimeEstimate:
        """Estimate a job with this number of *steps* on *device*."""
        # many cells of a grid cost the same: they differ only in seeds or rates
        key = (device, steps, spec.epochs, spec.evaluate_every, spec.dataset, *shape_of(spec))
        if key not in self._known:
            self._known[key] = self._estimate(spec, device, steps)
        return self._known[key]

    def _estimate(self, spec: JobSpec, device: str, steps: int | None) -> TimeEstimate:
        predicted = job_s(spec, steps)
        if predicted is None:
            return TimeEstimate(None, _FILES if steps is None else _OWN_NETWORK)
        there = [run for run in self._runs if run.device == device]
        alike = [run.ratio for run in there if shape_of(run.spec) == shape_of(spec)]
        if alike:
            return TimeEstimate(predicted * median(alike), _ALIKE)
        if there:
            return TimeEstimate(predicted * median(_nearest(there, spec)), _OTHERS)
        calibrated = DEVICES[device].calibrated
        return TimeEstimate(predicted, _MODEL) if calibrated else TimeEstimate(None, _NOBODY)


def of_job(database: Database, spec: JobSpec, device: str, steps: int | None) -> TimeEstimate:
    """Estimate one job with this number of *steps* on *device*."""
    with database.autocommit() as connection:
        return Pace(connection, [spec]).of(spec, device, steps)


def total(estimates: Sequence[TimeEstimate], scale: float = 1.0) -> TimeEstimate:
    """
    Add up the times of jobs that run one after another; name the jobs without an estimate.

    Args:
        estimates: one for each job that was estimated.
        scale: the number of jobs that each estimate represents.
    """
    known = [e.seconds for e in estimates if e.seconds is not None]
    sources = Counter(e.source for e in estimates)
    if len(sources) == 1:
        said = next(iter(sources))
    else:
        said = "; ".join(f"{source} ({n} of {len(estimates)})" for source, n in sources.items())
    if not known:
        return TimeEstimate(None, said or "nothing would run")
    return TimeEstimate(sum(known) * scale, said)


def duration(seconds: float) -> str:
    """Format seconds: `40 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def shape_of(spec: JobSpec) -> tuple[object, ...]:
    """Return what the time of an update depends on."""
    normalizer = (spec.normalizer.kind, getattr(spec.normalizer, "proxy", False))
    work = (spec.batch_size, spec.gradient_accumulation, spec.replicas)
    return (spec.model.name, spec.model.width, spec.dataset.name,
            spec.dataset.image_size, spec.dataset.file, normalizer, work, spec.precision,
            spec.acceleration, spec.threads)  # fmt: skip


def _nearest(runs: Sequence[_Run], spec: JobSpec) -> list[float]:
    each = update_s(spec) or 1.0
    distances = [abs(math.log(run.update_s / each)) + _strangeness(run.spec, spec) for run in runs]
    least = min(distances)
    return [run.ratio for run, d in zip(runs, distances, strict=True) if d <= least + _NEAR]


def _strangeness(a: JobSpec, b: JobSpec) -> float:
    other_network = (a.model.name, a.dataset.name) != (b.model.name, b.dataset.name)
    other_kind = bool(a.normalizer.kind != b.normalizer.kind)
    return other_network * _OTHER_NETWORK + other_kind * _OTHER_KIND
