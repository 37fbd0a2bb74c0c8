"""How PostgreSQL finds the values of a metric in a large store: together, and not job by job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from normlab.records.tables import TableQuestion
from service.jobs import listing, table
from service.jobs.job_filters import JobFilters
from service.store.database import Database
from tests.many_jobs import fill

_JOBS = 2_000
_BATCH = 500  # of leading jobs, however many there are


@pytest.mark.parametrize(
    "ask",
    [
        lambda d, n: table.read(d, TableQuestion(columns=["name"], sort="val/loss", limit=n)),
        lambda d, n: table.read(d, TableQuestion(columns=["name"], sort="-val/loss:mean", limit=n)),
        lambda d, n: listing.list_jobs(d, sort="-val/loss", limit=n),
        lambda d, n: listing.list_jobs(d, JobFilters(where="not val/loss > 2"), limit=n),
        lambda d, n: listing.list_jobs(
            d, JobFilters(where="val/loss > 2 or train/loss < .001"), limit=n
        ),
    ],
    ids=["table", "table by mean", "list", "filter", "two metrics"],
)
def test_many_jobs_are_sorted_and_filtered_by_a_metric_without_a_look_at_each(
    database: Database, ask: Callable[[Database, int], Any]
) -> None:
    fill(database, _JOBS)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    ask(database, 5)
    event.remove(database.engine, "before_cursor_execute", note)
    reads = [of for of in asked if "metric_last" in of[0]]
    assert reads
    loops = [n for of in reads for n in _loops(database, *of)]
    assert 0 < max(loops) <= _BATCH


def _loops(database: Database, statement: str, parameters: Any) -> Iterator[int]:
    """Yield how often each part of the plan went to the values of metrics."""
    with database.autocommit() as connection:
        explained = f"explain (analyze, format json) {statement}"
        (plan,) = connection.exec_driver_sql(explained, parameters).scalar_one()
    waiting = [plan["Plan"]]
    while waiting:
        part = waiting.pop()
        waiting += part.get("Plans", [])
        if part.get("Relation Name") == "metric_last":
            yield part["Actual Loops"]
