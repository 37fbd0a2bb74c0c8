"""For how long, where and when the jobs of a claim ran, from their own records."""

from __future__ import annotations

from typing import Iterable, List, Sequence

from normlab.claims.gathering import JobSource
from normlab.claims.verdicts import ClaimVerdict
from normlab.records import JobDetail


def how_it_ran(verdict: ClaimVerdict, store: JobSource) -> str:
    """
    Say for how long, on what and when some job of the claim ran, including tuning.

    The time includes delays by other work on the machine; the time of jobs that ran at once counts
    once. It is empty if no job has ended.
    """
    tables = [table for table in (verdict.table, verdict.tuned) if table is not None]
    jobs = [store.get(job) for t in tables for row in t.rows for job in row.jobs.values()]
    ran = [job for job in jobs if job.started_at and job.finished_at]
    if not ran:
        return ""
    where = " and ".join(sorted(filter(None, dict.fromkeys(map(_machine, ran)))))
    return f"{_duration(_running_s(ran))}{where and f' on {where}'}, {_days(ran)}"


def _running_s(jobs: Sequence[JobDetail]) -> float:
    spans = sorted((j.started_at, j.finished_at) for j in jobs if j.started_at and j.finished_at)
    total, end = 0.0, spans[0][0]
    for start, stop in spans:
        total += max(0.0, (stop - max(start, end)).total_seconds())
        end = max(end, stop)
    return total


def _machine(job: JobDetail) -> str:
    """Name the device of the last attempt, its host's system, and the version of torch there."""
    facts = job.attempts[-1].environment if job.attempts else {}
    host, versions = facts.get("host", {}), facts.get("versions", {})
    system = " ".join(filter(None, (str(host.get("system", "")).partition("-")[0],
                                    host.get("machine"))))  # fmt: skip
    torch = versions.get("torch")
    return ", ".join(filter(None, (facts.get("description"), system, torch and f"torch {torch}")))


def _days(jobs: Iterable[JobDetail]) -> str:
    days: List[str] = sorted(f"{j.finished_at:%Y-%m-%d}" for j in jobs if j.finished_at)
    return f"on {days[0]}" if days[0] == days[-1] else f"from {days[0]} to {days[-1]}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
