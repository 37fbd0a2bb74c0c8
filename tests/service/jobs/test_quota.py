"""An owner's queue limit holds for all ways of adding jobs, even at the same moment."""

from __future__ import annotations

from functools import partial

import pytest

from normlab.errors import QuotaExceeded
from normlab.records import StudyRecord
from normlab.specs.studies import StudySpec
from service.jobs import changes, quota, reading, submissions
from service.store.database import Database
from service.studies import studies
from tests.service.work import at_once, spec, submit

MOST = 10


def study(database: Database, name: str = "s", seeds: int = 8) -> StudyRecord:
    wanted = StudySpec(name=name, base={"normalizer": "batch"}, seeds=tuple(range(seeds)))
    return studies.create(
        database, wanted, owner="ada", place=lambda _: ("cpu", "a test"), check=lambda _: [],
        max_queued=MOST,
    )[0]  # fmt: skip


def one(database: Database, most: int = MOST) -> None:
    submissions.submit(
        database, spec(), owner="ada", device="cpu", device_reason="", max_queued=most
    )


def queued(database: Database) -> int:
    return reading.count_by_state(database).get(("queued", "cpu"), 0)


def test_a_study_that_does_not_fit_is_refused_as_a_whole_with_the_numbers(
    database: Database,
) -> None:
    study(database, "first")
    with pytest.raises(QuotaExceeded, match=r"8 jobs queued, and this adds 8.* are 10"):
        study(database, "second")
    assert queued(database) == 8
    assert [s.name for s in studies.list_studies(database).studies] == ["first"]


def test_a_study_that_could_never_fit_gets_other_advice(database: Database) -> None:
    with pytest.raises(QuotaExceeded, match="NORMLAB_MAX_QUEUED_PER_OWNER"):
        study(database, seeds=MOST + 1)


def test_only_studies_that_fit_are_queued_when_several_arrive_at_once(database: Database) -> None:
    refused = at_once(*[partial(study, database, f"s{i}") for i in range(4)])
    assert (refused, queued(database)) == (3, 8)


def test_single_jobs_at_once_stop_at_the_limit(database: Database) -> None:
    assert at_once(*[lambda: one(database)] * 14) == 4
    assert queued(database) == MOST


def test_single_jobs_beside_a_study_stop_at_the_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.submissions.MARGIN", 4)  # far from the limit, and then near
    refused = at_once(lambda: study(database), *[lambda: one(database)] * 8)
    assert queued(database) <= MOST
    assert refused > 0


def test_the_limit_applies_to_completing_and_retrying_too(database: Database) -> None:
    cancelled = study(database)
    studies.cancel(database, cancelled.id)
    single = submit(database)
    changes.cancel(database, single.id)
    for _ in range(MOST - 7):
        one(database)
    refused = at_once(
        lambda: studies.complete(
            database, cancelled.id, place=lambda _: ("cpu", ""), max_queued=MOST
        ),
        lambda: changes.retry(database, single.id, MOST),
    )
    assert (refused, queued(database)) == (1, MOST - 6)
    assert studies.get(database, cancelled.id).counts == {"cancelled": 8}


def test_the_limit_applies_to_a_larger_grid_and_the_study_stays(database: Database) -> None:
    small = study(database)
    larger = StudySpec(name="s", base={"normalizer": "batch"}, seeds=tuple(range(11)))
    with pytest.raises(QuotaExceeded):
        studies.extend(
            database, small.id, larger, owner="ada", place=lambda _: ("cpu", ""),
            check=lambda _: [], max_queued=MOST,
        )  # fmt: skip
    assert studies.get(database, small.id).cells == 8


def test_others_are_not_counted(database: Database) -> None:
    study(database)
    with database.begin() as connection:
        assert quota.room(connection, "bob", MOST, 99) == MOST
