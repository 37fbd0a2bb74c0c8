"""Run a job again, here or elsewhere, and compare the results; say why they differ if they do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from normlab.client.session import Client
from normlab.errors import Conflict
from normlab.not_finite import name_of
from normlab.records import JobCreated, JobDetail
from normlab.records.plugins import PluginUpload
from normlab.specs.measures import is_timing

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class RerunComparison:
    """
    The results of a job and of its rerun, compared.

    Attributes:
        same: whether weights and last metrics agree bit for bit.
        metrics: those whose last values differ, as (name, before, now); None: not reported.
        differences: of the environments, one sentence each; what may explain it.
    """

    same: bool
    metrics: List[Tuple[str, Any, Any]] = field(default_factory=list)
    differences: List[str] = field(default_factory=list)


def start_again(
    job: JobDetail, source: Client, target: Client, project: Optional[str] = None
) -> JobCreated:
    """
    Queue *job* of *source* once more at *target*, with its code and its number of threads.

    Args:
        job: a job that has succeeded.
        source: the client of its stack.
        target: the same client, or one of another stack.
        project: the project of the new job at *target*; None on the same stack for the project of
            *job*.

    Raises:
        Conflict: the job has not succeeded, so there is nothing to compare with; or it starts from
            results of another job of *source*, and *target* is another stack.
        Forbidden: *target* accepts no code from you.
    """
    if job.state != "succeeded":
        raise Conflict(f"job {job.id} is {job.state}; only one that succeeded can be reproduced")
    if source is not target:
        _refuse_if_bound(job)
        for digest in job.spec.code:
            source_of = source.plugins.source(digest)
            target.plugins.send(PluginUpload(name=source_of.name, files=source_of.files), project)
    spec = job.spec.model_dump(mode="json")
    spec["threads"] = _environment(job).get("threads", spec["threads"])
    spec["name"] = f"rerun of {job.name or job.id}"[:200]
    here = job.project if source is target else None
    return target.submit(spec, project=project or here)


def _refuse_if_bound(job: JobDetail) -> None:
    start = job.spec.init_from
    bound = job.spec.continues or (start if start is not None and start.file is None else None)
    if bound is not None:
        raise Conflict(
            f"job {job.id} starts from results of another job of its stack, which other stacks do "
            f"not have; download the weights, and name them there as a file in init_from"
        )


def compare(before: JobDetail, now: JobDetail, source: Client, target: Client) -> RerunComparison:
    """Compare two jobs that have ended: metrics, weights, and what they were computed with."""
    then, today = _last_values(before), _last_values(now)
    names = sorted(set(then) | set(today))
    metrics = [(n, then.get(n), today.get(n)) for n in names if then.get(n) != today.get(n)]
    same = not metrics and _weights(before, source) == _weights(now, target)
    then_in, now_in = _environment(before), _environment(now)
    differences = [*_packs(then_in, now_in), *_differences(then_in, now_in)]
    return RerunComparison(same and now.state == "succeeded", metrics, differences)


def _last_values(job: JobDetail) -> Dict[str, Any]:
    """
    Return the last value of each metric that is not a measure of time or of the machine.

    NaN and infinity by their names, because NaN is not equal to itself.
    """
    found = {n: last.number() for n, last in job.last.items() if not is_timing(n)}
    return {n: name_of(number) or number for n, number in found.items()}


def _environment(job: JobDetail) -> Dict[str, Any]:
    return job.attempts[-1].environment if job.attempts else {}


def _weights(job: JobDetail, client: Client) -> bytes:
    if all(file.name != WEIGHTS for file in client.artifacts(job.id)):
        return b""
    with TemporaryDirectory(prefix="normlab-rerun-") as folder:
        content = client.download(job.id, WEIGHTS, Path(folder) / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:end])
    head.pop("__metadata__", None)  # the specification, whose name differs
    return json.dumps(head, sort_keys=True).encode() + content[end:]


def _packs(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before.get("packed") != now.get("packed"):
        yield (
            "numbers of a job in a pack agree with those of a job alone, or in another pack, only "
            "up to rounding; if every bit matters, give the study pack: off"
        )


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> Iterator[str]:
    for name in sorted(set(before) | set(now)):
        a, b = before.get(name), now.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{path}{name} ")
        elif a != b:
            yield f"{path}{name}: {_shown(a)} then, {_shown(b)} now"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
