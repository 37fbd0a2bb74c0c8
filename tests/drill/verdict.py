"""The outcome of every job, and the table that shows it."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from normlab.errors import NotFound
from normlab.records import ENDED, JobDetail
from service.jobs import reading
from service.results import artifacts, metrics
from tests.drill.faults import FAULTS, Drill, Outcome
from tests.drill.load import Accepted

_ALL = text("select id from job")
_ENDS = text("""
    select count(*) from event where job = :job and kind in ('succeeded', 'failed', 'cancelled')
""")
# The tolerance of a loss. A member's losses differ from those of the job alone by rounding. After
# 300 updates, the difference is 0.0002, the same as after a change of the last bit of one weight.
# Other samples make a difference of 0.1.
_ROUNDING = 0.005
_FORGIVEN = text("select forgiven from job where id = :job")


@dataclass
class Violations:
    """The violations by rule, each with the ids of the jobs."""

    lost: set[str] = field(default_factory=set)
    unended: set[str] = field(default_factory=set)
    ended_twice: set[str] = field(default_factory=set)
    wrong_end: set[str] = field(default_factory=set)
    steps: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    attempts: set[str] = field(default_factory=set)
    zombies: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def of(self, ids: Iterable[str]) -> dict[str, int]:
        """Count each violation among *ids*."""
        among = set(ids)
        return {rule: len(found & among) for rule, found in vars(self).items()}


class Curve(NamedTuple):
    """The losses of a job that succeeded."""

    job: str
    packed: bool
    values: tuple[float | None, ...]


@dataclass
class Verdict:
    """The drill's result."""

    jobs: int
    violations: Violations
    unknown_jobs: int
    left_behind: int
    outcomes: Sequence[tuple[str, Outcome]]

    @property
    def passed(self) -> bool:
        """Whether no guarantee was violated."""
        broken = any(vars(self.violations).values())
        late = any(outcome.late for _, outcome in self.outcomes)
        return not (broken or late or self.unknown_jobs or self.left_behind)


def judge(drill: Drill, outcomes: Sequence[tuple[str, Outcome]], left_behind: int) -> Verdict:
    """Check every accepted job and every stored job."""
    accepted = drill.load.accepted
    with drill.observer.database.begin() as connection:
        there = {str(row.id) for row in connection.execute(_ALL)}
    found = Violations()
    by_fingerprint: dict[str, list[Curve]] = defaultdict(list)
    for promise in accepted:
        if promise.id not in there:
            found.lost.add(promise.id)
            continue
        _judge_job(drill, promise, found, by_fingerprint)
    for curves in by_fingerprint.values():
        found.numbers |= differing(curves)
    for attempt, points in drill.snapshots:
        if drill.observer.points(attempt) != points:
            found.zombies.add(attempt.job)
    unknown = len(there - {promise.id for promise in accepted})
    return Verdict(len(accepted), found, unknown, left_behind, outcomes)


def _judge_job(
    drill: Drill,
    promise: Accepted,
    found: Violations,
    by_fingerprint: dict[str, list[Curve]],
) -> None:
    database = drill.observer.database
    job = reading.get(database, promise.id)
    with database.begin() as connection:
        ends = connection.execute(_ENDS, {"job": job.id}).scalar_one()
        forgiven = connection.execute(_FORGIVEN, {"job": job.id}).scalar_one()
    if job.state not in ENDED:
        found.unended.add(job.id)
    elif job.state not in promise.ends:
        found.wrong_end.add(job.id)
    if ends > 1:
        found.ended_twice.add(job.id)
    if job.attempt - forgiven > job.max_attempts or len(job.attempts) != job.attempt:
        found.attempts.add(job.id)
    if job.error is not None and job.error.failure_kind == "oom" and job.attempt - forgiven > 1:
        found.attempts.add(job.id)
    if not _has_its_files(drill, job):
        found.files.add(job.id)
    steps, values = _series(drill, job)
    complete = job.state != "succeeded" or len(steps) == job.steps
    if steps != list(range(1, len(steps) + 1)) or not complete:
        found.steps.add(job.id)
    if job.state == "succeeded":
        curve = Curve(job.id, job.packed is not None, tuple(values))
        by_fingerprint[job.fingerprint].append(curve)


def differing(twins: Sequence[Curve]) -> set[str]:
    """Name those of equal jobs whose curve differs from the first one; packs differ a little."""
    first = min(twins, key=lambda curve: curve.packed)
    return {c.job for c in twins if not _is_same(c, first)}


def _is_same(curve: Curve, other: Curve) -> bool:
    if not curve.packed or curve.values == other.values:
        return curve.values == other.values
    if len(curve.values) != len(other.values):
        return False
    pairs = zip(curve.values, other.values, strict=True)
    return all(a is not None and b is not None and abs(a - b) <= _ROUNDING for a, b in pairs)


def _has_its_files(drill: Drill, job: JobDetail) -> bool:
    """Return whether every recorded file is stored with the content that the job wrote."""
    database, store = drill.observer.database, drill.stack.store
    with tempfile.TemporaryDirectory() as copies:
        for record in artifacts.read_all(database, job.id):
            file = artifacts.stored(database, job.id, record.name)
            try:
                content = store.fetch(file, Path(copies)).read_bytes()
            except NotFound:
                return False
            if hashlib.sha256(content).hexdigest() != file.sha256:
                return False
    return True


def _series(drill: Drill, job: JobDetail) -> tuple[list[int], list[float | None]]:
    try:
        series = metrics.read(drill.observer.database, job.id, "train/loss")
    except NotFound:
        return [], []
    return series.steps, series.values


def show(verdict: Verdict, console: Console) -> None:
    """Print one row per fault, and one for all jobs."""
    table = Table(title=f"{len(verdict.outcomes)} faults, {verdict.jobs} jobs accepted")
    table.add_column("fault", no_wrap=True)
    for heading in ("times", "jobs hit", "lost", "not ended", "ended twice", "wrong end"):
        table.add_column(heading, justify="right")
    for heading in (
        "steps wrong",
        "numbers differ",
        "attempts over",
        "zombie writes",
        "files lost",
    ):
        table.add_column(heading, justify="right")
    table.add_column("slowest recovery", justify="right")
    table.add_column("limit", justify="right")
    for name in FAULTS:
        of_kind = [outcome for kind, outcome in verdict.outcomes if kind == name]
        if of_kind:
            table.add_row(name, *_row(verdict, of_kind))
    everyone = set().union(*vars(verdict.violations).values())
    counts = [str(n) for n in verdict.violations.of(everyone).values()]
    table.add_section()
    table.add_row("all jobs", str(len(verdict.outcomes)), str(verdict.jobs), *counts, "", "")
    console.print(table)
    console.print(
        f"jobs that nobody submitted: {verdict.unknown_jobs}; "
        f"processes left behind: {verdict.left_behind}; "
        f"{'passed' if verdict.passed else 'FAILED'}"
    )
    for rule, ids in vars(verdict.violations).items():
        for job in sorted(ids):
            console.print(f"  {rule}: {job}")


def _row(verdict: Verdict, outcomes: Sequence[Outcome]) -> list[str]:
    ids = [job for outcome in outcomes for job in outcome.jobs]
    counts = [str(n) for n in verdict.violations.of(ids).values()]
    times = [outcome.recovery_s for outcome in outcomes]
    known = [t for t in times if t is not None]
    slowest = "never" if None in times else f"{max(known):.1f} s"
    if any(outcome.late for outcome in outcomes):
        slowest += " LATE"
    limit = outcomes[0].limit_s
    return [
        str(len(outcomes)),
        str(len(set(ids))),
        *counts,
        slowest,
        "" if limit is None else f"{limit:.1f} s",
    ]
