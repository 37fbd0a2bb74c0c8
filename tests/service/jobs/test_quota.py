"""An owner's queue limit holds for all ways of adding jobs, even at the same moment."""

from __future__ import annotations

from functools import partial

import pytest

from normlab.errors import QuotaExceeded
from normlab.records import StudyRecord
from normlab.records.limits import LimitRequest
from normlab.specs.studies import StudySpec
from service.jobs import allowances, changes, gauges, quota, submissions
from service.store.audit import Actor
from service.store.database import Database
from service.studies import details, studies
from service.studies.listing import list_studies
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
    return gauges.by_state(database).get(("queued", "cpu"), 0)


def test_a_study_that_does_not_fit_is_refused_as_a_whole_with_the_numbers(
    database: Database,
) -> None:
    study(database, "first")
    with pytest.raises(QuotaExceeded, match=r"8 jobs queued, and this adds 8.* at most 10"):
        study(database, "second")
    assert queued(database) == 8
    assert [s.name for s in list_studies(database).studies] == ["first"]


def test_a_study_that_could_never_fit_gets_other_advice(database: Database) -> None:
    with pytest.raises(QuotaExceeded, match="NORMLAB_MAX_QUEUED_PER_OWNER"):
        study(database, seeds=MOST + 1)


def test_only_studies_that_fit_are_queued_when_several_arrive_at_once(database: Database) -> None:
    refused = at_once(*[partial(study, database, f"s{i}") for i in range(4)])
    assert (refused, queued(database)) == (3, 8)


def test_single_jobs_that_arrive_at_once_stop_at_the_limit(database: Database) -> None:
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
    assert details.get(database, cancelled.id).counts == {"cancelled": 8}


def test_the_limit_applies_to_a_larger_grid_and_the_study_stays(database: Database) -> None:
    small = study(database)
    larger = StudySpec(name="s", base={"normalizer": "batch"}, seeds=tuple(range(11)))
    with pytest.raises(QuotaExceeded):
        studies.extend(
            database, small.id, larger, owner="ada", place=lambda _: ("cpu", ""),
            check=lambda _: [], max_queued=MOST,
        )  # fmt: skip
    assert details.get(database, small.id).cells == 8


def test_others_are_not_counted(database: Database) -> None:
    study(database)
    with database.begin() as connection:
        assert quota.room(connection, "bob", "default", MOST, 99) == MOST


def allow(database: Database, subject: str, name: str, **limits: int | None) -> None:
    asked = LimitRequest.read({"subject": subject, "name": name, **limits})
    allowances.put(database, asked, Actor("root"))


@pytest.mark.parametrize("subject", ["owner", "project"])
def test_a_limit_that_an_admin_has_set_counts_instead(database: Database, subject: str) -> None:
    name = "ada" if subject == "owner" else "default"
    allow(database, subject, name, queued=4)
    refused = at_once(*[partial(one, database, 20_000)] * 9, partial(study, database))
    assert (refused, queued(database)) == (6, 4)
    words = f"{'project ' if subject == 'project' else ''}{name!r} has 4 jobs queued, and this adds"
    with pytest.raises(QuotaExceeded, match=words):
        one(database, 20_000)
    allow(database, subject, name, queued=None)
    one(database, 20_000)
    assert queued(database) == 5


def test_the_limit_of_each_counts_for_those_without_one_of_their_own(database: Database) -> None:
    allow(database, "owner", "*", queued=1)
    allow(database, "owner", "ada", queued=2)
    assert at_once(*[partial(one, database, 20_000)] * 4) == 2
    with database.begin() as connection:
        assert quota.room(connection, "bob", "default", MOST, 99) == 1


def test_of_two_people_in_one_project_both_count(database: Database) -> None:
    allow(database, "project", "default", queued=3)

    def submit_as(owner: str) -> None:
        submissions.submit(
            database, spec(), owner=owner, device="cpu", device_reason="", max_queued=20_000
        )

    assert at_once(*[partial(submit_as, owner) for owner in ("ada", "bob")] * 4) == 5
