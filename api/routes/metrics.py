"""Curves of jobs: one metric of one job, or of several for one chart."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.auth import ReaderDep
from api.bodies import answer
from api.costly import UNDER_WAY, going_on
from api.state import StateDep
from normlab.records import LastValue, SeriesRecord
from service.jobs import listing
from service.results import many_curves, metrics

router = APIRouter(tags=["metrics"])

_MOST_JOBS = 100
_STEP = Query(ge=0, le=2**31 - 1)
Name = Annotated[
    str, Query(min_length=1, max_length=200, examples=["val/accuracy"], description="the metric")
]
FromStep = Annotated[int | None, _STEP]
ToStep = Annotated[int | None, _STEP]
MaxPoints = Annotated[
    int | None,
    Query(
        ge=1,
        le=100_000,
        description="if there are more points than this, return this number of buckets of "
        "steps, each with its mean, smallest and largest value",
    ),
]

Times = Annotated[
    bool,
    Query(description="return the times of the points; without them, long curves come sooner"),
]


@router.get("/jobs/{job}/metrics", response_model=SeriesRecord)
def read_series(
    job: str,
    reader: ReaderDep,
    state: StateDep,
    name: Name,
    from_step: FromStep = None,
    to_step: ToStep = None,
    max_points: MaxPoints = None,
) -> Response:
    """Return one metric as columns; both bounds are inclusive."""
    return _json(metrics.read_arrays(state.database, job, name, from_step, to_step, max_points))


@router.get("/jobs/{job}/metrics:names")
def read_metric_names(job: str, reader: ReaderDep, state: StateDep) -> dict[str, LastValue]:
    """List the metrics that a job has reported, with their last values."""
    return metrics.names(state.database, job)


@router.get("/series", response_model=list[SeriesRecord], responses=UNDER_WAY)
@going_on
def read_series_of_jobs(
    request: Request,
    reader: ReaderDep,
    state: StateDep,
    name: Name,
    job: Annotated[list[str], Query(min_length=1, max_length=_MOST_JOBS)],
    from_step: FromStep = None,
    to_step: ToStep = None,
    max_points: MaxPoints = 500,
    times: Times = True,
) -> Response:
    """
    Return one metric of several jobs, in their order; empty for a job without the metric.

    A hundred long curves take a while: the answer is then 202 with `Retry-After`; send the same
    request again to get them.
    """
    seen = listing.in_sight(state.reads, job)
    found = many_curves.read(state.reads, job, seen, name, from_step, to_step, max_points, times)
    return _json(found)


def _json(series: dict[str, Any] | list[dict[str, Any]]) -> Response:
    # The columns are already arrays of numbers: converting and validating them costs more than
    # reading them from the database
    return answer(orjson.dumps(series, option=orjson.OPT_SERIALIZE_NUMPY))
