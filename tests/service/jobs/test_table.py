from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.events import Finished
from normlab.records.tables import TableQuestion
from service.jobs import leases, table
from service.results import reports
from service.store.database import Database
from tests.service.work import claim, submit


def report(database: Database, values: dict[str, list[float]], *, end: bool = True) -> str:
    """Let the next job report *values* at the updates 1, 2, ..., and succeed."""
    from normlab.events import Metrics, Series

    claimed = claim(database)
    series = {
        name: Series(
            steps=list(range(1, len(v) + 1)), values=v, times=[float(i) for i in range(len(v))]
        )
        for name, v in values.items()
    }
    assert reports.keep_all(database, claimed, [Metrics(series=series)])
    if end:
        leases.finish(database, claimed, Finished(step=3, summary={}))
    return str(claimed.job)


def read(database: Database, *columns: str, **asked: Any) -> table.JobTable:
    return table.read(database, TableQuestion(columns=list(columns), **asked))


def cells(found: table.JobTable) -> list[list[Any]]:
    return [found.values(row) for row in found.rows]


def test_a_table_has_columns_of_jobs_fields_of_the_specification_and_metrics(
    database: Database,
) -> None:
    submit(database, name="one", seed=3, optimizer={"lr": 0.3})
    report(database, {"val/accuracy": [0.2, 0.9, 0.7], "val/loss": [2.0, 1.0, 3.0]})
    found = read(
        database, "name", "owner", "seed", "optimizer.lr", "val/accuracy", "val/accuracy:best",
        "val/accuracy:min", "val/accuracy:mean", "val/loss:best",
    )  # fmt: skip
    (row,) = cells(found)
    assert row[:4] == ["one", "ada", 3, 0.3]
    assert row[4:] == pytest.approx([0.7, 0.9, 0.2, 0.6, 1.0])
    assert [of.kind for of in found.columns[:4]] == ["text", "text", "number", "field"]


@pytest.mark.parametrize(
    "sort", ["optimizer.lr", "val/accuracy", "name", "seed", "duration", "created_at", "max_steps"]
)
@pytest.mark.parametrize("turned", ["", "-"])
def test_pages_in_any_order_have_every_job_once_and_those_without_a_value_last(
    database: Database, sort: str, turned: str
) -> None:
    rates = [0.1, 0.05, 0.1, 1, 0.3, 10]
    for i, rate in enumerate(rates):
        submit(database, seed=i, name=f"n{5 - i}" if i % 2 else None, max_steps=i % 3 or None,
               optimizer={"lr": rate})  # fmt: skip
    for value in (0.5, float("nan"), 0.25):
        report(database, {"val/accuracy": [value]})
    whole = read(database, sort, sort=turned + sort)
    values = [row[0] for row in cells(whole)]
    known = [v for v in values if v is not None and not (isinstance(v, float) and math.isnan(v))]
    assert values[: len(known)] == known
    assert known == sorted(known, reverse=bool(turned))
    pages, cursor = [], None
    while True:
        page = read(database, sort, sort=turned + sort, cursor=cursor, limit=2)
        pages += [row.id for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert pages == [row.id for row in whole.rows]
    assert len(set(pages)) == len(rates)


def test_a_page_in_the_middle_is_reached_by_skipping_and_goes_on_by_its_cursor(
    database: Database,
) -> None:
    jobs = [submit(database, seed=i).id for i in range(7)]
    middle = read(database, "seed", sort="seed", skip=3, limit=2, count=True)
    assert (cells(middle), middle.total) == ([[3], [4]], len(jobs))
    after = read(database, "seed", sort="seed", cursor=middle.next_cursor, skip=1, limit=2)
    assert cells(after) == [[6]]


def test_only_the_named_jobs_of_a_filter_are_listed(database: Database) -> None:
    jobs = [submit(database, seed=i).id for i in range(4)]
    found = read(database, "seed", filter="seed > 0", jobs=jobs[:3], sort="seed")
    assert cells(found) == [[1], [2]]


def test_an_unknown_column_is_refused_with_the_nearest(database: Database) -> None:
    with pytest.raises(InvalidSpec, match=r"'optimizer\.lrr' is not a column.*optimizer\.lr"):
        read(database, "name", "optimizer.lrr")


def test_metrics_that_nobody_reported_are_told_wherever_they_stand(database: Database) -> None:
    submit(database)
    report(database, {"val/accuracy": [0.5]})
    found = read(database, "val/accuracy", "val/a:best", sort="-val/b:min", filter="not val/c > 1")
    assert found.gone == ["val/a", "val/b", "val/c"]
    assert cells(found)[0] == [0.5, None]


def test_a_cursor_of_another_order_is_refused(database: Database) -> None:
    for _ in range(2):
        submit(database)
    page = read(database, "seed", limit=1)
    with pytest.raises(InvalidSpec, match="belongs to a list with sort"):
        read(database, "seed", sort="seed", cursor=page.next_cursor)


def test_values_sort_within_their_type(database: Database) -> None:
    for groups in (8, 16, 2):
        submit(database, normalizer={"kind": "group", "groups": groups})
    found = cells(read(database, "normalizer.groups", sort="normalizer.groups"))
    assert all(a[0] <= b[0] for a, b in pairwise(found))
