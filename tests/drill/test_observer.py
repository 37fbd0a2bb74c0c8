"""Which jobs of a study the drill counts as a pack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from normlab.events import Finished
from normlab.specs.studies import StudySpec
from service.jobs import leases
from service.jobs.leases import Lease
from service.jobs.pack_leases import with_mates
from service.store.database import Database
from service.studies import details, studies
from tests.drill import observer
from tests.drill.observer import Observer

BASE: dict[str, Any] = {"normalizer": "batch", "batch_size": 2, "dataset": {"name": "digits"}}


@pytest.fixture
def jobs(database: Database) -> list[str]:
    spec = StudySpec.model_validate({"name": "s", "seeds": 3, "base": BASE, "pack": 3})
    place = ("cpu", "the only device of this test")
    made, _ = studies.create(database, spec, owner="me", place=lambda _: place, check=lambda _: [])
    return [str(cell.job) for cell in details.get(database, made.id).grid]


@pytest.fixture
def watching(database_url: str) -> Iterator[Observer]:
    opened = Observer(database_url)
    yield opened
    opened.database.close()


def claim(database: Database) -> Lease:
    found = leases.claim(database, "cpu", "w", 30)
    assert found is not None
    return found


def test_all_cells_are_a_pack_if_one_slot_takes_them(
    database: Database, watching: Observer, jobs: list[str]
) -> None:
    with_mates(database, claim(database), 30)
    assert [one.job for one in watching.until_packed(jobs)] == sorted(jobs)


def test_two_cells_are_a_pack_if_two_slots_claim_at_the_same_moment(
    database: Database, watching: Observer, jobs: list[str]
) -> None:
    first, second = claim(database), claim(database)
    members = [first, *with_mates(database, first, 30).mates]
    assert with_mates(database, second, 30).mates == ()
    found = watching.until_packed(jobs)
    assert {one.job for one in found} == {str(one.job) for one in members}
    assert len(found) == 2


def test_no_cells_are_a_pack_if_as_many_slots_claim_at_the_same_moment(
    database: Database, watching: Observer, jobs: list[str]
) -> None:
    claims = [claim(database) for _ in jobs]
    assert all(with_mates(database, one, 30).mates == () for one in claims)
    assert watching.until_packed(jobs) == []


def test_a_pack_that_has_ended_is_none(
    database: Database, watching: Observer, jobs: list[str]
) -> None:
    head = with_mates(database, claim(database), 30)
    for one in (head, *head.mates):
        assert leases.finish(database, one, Finished(step=1, summary={}))
    assert watching.until_packed(jobs) == []


def test_jobs_that_no_worker_begins_are_told_with_their_states(
    watching: Observer, jobs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "_STARTS_WITHIN_S", 0.1)
    with pytest.raises(RuntimeError, match=r"no worker began these within 0.1 s.*queued"):
        watching.until_packed(jobs)
