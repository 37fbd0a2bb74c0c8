"""The files of one ended job that a rule no longer keeps and no other job needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from normlab.records.keeping import Expiring, KeepRules

KINDS: Sequence[Expiring] = ("checkpoint", "weights", "log")


@dataclass(frozen=True)
class File:
    """A recorded file."""

    job: UUID
    name: str
    kind: str
    attempt: int
    path: str
    sha256: str
    bytes: int
    step: int | None


@dataclass(frozen=True)
class EndedJob:
    """An ended job."""

    id: UUID
    fingerprint: str
    ended_days: float
    """Ago."""
    log_bytes: int
    """The bytes of the log in the database."""


@dataclass(frozen=True)
class Expired:
    """The files of one kind that a rule no longer keeps of a job."""

    kind: Expiring
    files: Sequence[File]
    log_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The bytes that are freed."""
        return self.log_bytes + sum(file.bytes for file in self.files)


BestStep = Callable[[Sequence[int]], "int | None"]
"""Return which of these updates with checkpoints has the best metric; None: unknown."""


def expired(
    rules: KeepRules, job: EndedJob, files: Iterable[File], best_step: BestStep
) -> list[Expired]:
    """Return the files of *job* that *rules* no longer keep, by kind; empty kinds are left out."""
    by_kind: dict[str, list[File]] = {kind: [] for kind in KINDS}
    for file in files:
        by_kind.get(file.kind, []).append(file)
    found = []
    if _over(rules.checkpoints_days, job):
        spared = _spared(rules, by_kind["checkpoint"], best_step)
        gone = [f for f in by_kind["checkpoint"] if f.name not in spared]
        found.append(Expired("checkpoint", gone))
    if _over(rules.weights_days, job):
        found.append(Expired("weights", by_kind["weights"]))
    if _over(rules.logs_days, job):
        found.append(Expired("log", by_kind["log"], job.log_bytes))
    return [one for one in found if one.files or one.log_bytes]


def first_days(rules: KeepRules) -> int | None:
    """Return after how many days the first rule applies; None: everything is kept."""
    days = (rules.checkpoints_days, rules.weights_days, rules.logs_days)
    return min((one for one in days if one is not None), default=None)


def _over(days: int | None, job: EndedJob) -> bool:
    return days is not None and job.ended_days >= days


def _spared(rules: KeepRules, checkpoints: Sequence[File], best_step: BestStep) -> set[str]:
    """Return the names of the checkpoints that stay."""
    if rules.checkpoints_then == "none" or not checkpoints:
        return set()
    newest = max(checkpoints, key=lambda file: (file.attempt, file.step or 0))
    spared = {newest.name}
    if rules.checkpoints_then == "last_and_best" and len(checkpoints) > 1:
        best = best_step(sorted({file.step for file in checkpoints if file.step is not None}))
        spared |= {file.name for file in checkpoints if best is not None and file.step == best}
    return spared
