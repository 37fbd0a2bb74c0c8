"""A job with all its metrics, prepared for other programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Sequence, Tuple, Union

from normlab.records import JobDetail, SeriesRecord

if TYPE_CHECKING:
    from normlab.client import Client

Scalar = Union[bool, int, float, str]


@dataclass(frozen=True)
class Run:
    """A job and its series by name; *label* distinguishes it from other jobs."""

    job: JobDetail
    series: Mapping[str, SeriesRecord]
    label: str

    @property
    def settings(self) -> Dict[str, Scalar]:
        """Return the job's specification as a flat mapping of dotted paths, without nulls."""
        return dict(_flat(self.job.spec.model_dump(mode="json")))

    @property
    def finals(self) -> Dict[str, float]:
        """Return the last value of each metric, if it is finite."""
        ends = {name: last.number() for name, last in self.job.last.items()}
        return {name: number for name, number in ends.items() if math.isfinite(number)}


def read(client: Client, job: str, names: Sequence[str] = (), label: str = "") -> Run:
    """Fetch a job and every point of its metrics, or only of the metrics *names*."""
    found = client.get(job)
    wanted = list(names) or list(found.last)
    series = client.metrics(job, *wanted) if wanted else {}
    return Run(found, series, label or found.name or found.id)


def read_study(client: Client, study: str, names: Sequence[str] = ()) -> Iterator[Run]:
    """Fetch the jobs of a study one after another, labelled by the settings that vary."""
    from normlab.specs.cells import label

    for cell in client.studies.get(study).grid:
        if cell.job is not None:
            parts = [f"{path}={label(value)}" for path, value in cell.coordinates.items()]
            yield read(client, cell.job, names, " ".join([*parts, f"seed={cell.seed}"]))


def _flat(value: Any, path: str = "") -> Iterator[Tuple[str, Scalar]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, (bool, int, float, str)):
        yield path, value
    elif value is not None:
        yield path, ", ".join(str(item) for item in value)
