"""What a job started from, in words: the source of the weights, and how they were used."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

from normlab.plain_text import shown
from normlab.records import JobDetail

_SHOWN = 4  # names in a sentence
_KINDS = {
    "carried": "carried over into normalizers",
    "new": "new",
    "unused": "of the file not used",
}


def beginnings(job: JobDetail) -> List[Tuple[str, str]]:
    """Return the facts about the start of *job*, as (what, value); none for fresh weights."""
    return [(what, shown(value)) for what, value in _facts(job)]


def _facts(job: JobDetail) -> Iterator[Tuple[str, str]]:
    found = _reported(job)
    start = job.spec.init_from
    if start is not None:
        yield "started from", f"the weights of {start.named}"
    goes_on = job.spec.continues
    if goes_on is not None:
        rates = "" if goes_on.schedule == "same" else ", with the rates of the longer training"
        yield "continues", f"from update {goes_on.step} of job {goes_on.job}{rates}"
    if "init_from" in found:
        yield "loading", _told(found["init_from"])
    if "frozen" in found:
        yield "frozen", _some(found["frozen"])
    elif job.spec.freeze:
        yield "frozen", ", ".join(job.spec.freeze)


def _reported(job: JobDetail) -> Dict[str, Any]:
    """Return the environment of the newest attempt that has reported one."""
    return next((a.environment for a in reversed(job.attempts) if a.environment), {})


def _told(found: Dict[str, Any]) -> str:
    parts = [f"{found['loaded']} loaded"]
    parts += [f"{words}: {_some(found[kind])}" for kind, words in _KINDS.items() if found[kind]]
    return "; ".join(parts)


def _some(names: List[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} ({', '.join(names[:_SHOWN])}{more})"
