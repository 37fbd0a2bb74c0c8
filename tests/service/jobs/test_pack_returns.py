"""A pack that was given back is claimed as the same pack, or falls apart."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import JobCancelled
from normlab.events import CheckpointWritten, Failed
from normlab.records.limits import LimitRequest
from service.jobs import allowances, changes, leases, reaper
from service.jobs.leases import Lease
from service.jobs.pack_leases import with_mates
from service.results import artifacts
from service.store.audit import Actor
from service.store.database import Database
from tests.service.jobs.test_pack_leases import claim, queue, seeds


def head_of(database: Database) -> Lease | None:
    return leases.claim(database, "cpu", "w", 30)


def save(database: Database, one: Lease, *steps: int) -> None:
    with database.begin() as connection:
        for step in steps:
            path = f"{one.job}/attempt-{one.attempt}/checkpoints/step-{step:09d}.pt"
            written = CheckpointWritten(step=step, path=path, sha256="0" * 64, bytes=1)
            artifacts.keep_checkpoint(connection, one, written)


def give_back(database: Database, claims: list[Lease], limit: int | None = None) -> None:
    assert all(leases.release(database, one, "it was lost", limit) for one in claims)


@pytest.mark.parametrize("pack", [4, "auto"])
def test_a_drained_pack_comes_back_whole(database: Database, pack: Any) -> None:
    queue(database, seeds=3, pack=pack)
    before = claim(database)
    give_back(database, before)
    again = claim(database)
    assert [one.job for one in again] == [one.job for one in before]
    assert seeds(again) == [0, 1, 2]
    assert {one.attempt for one in again} == {2}


def test_members_of_two_packs_are_not_mixed_when_both_come_back(database: Database) -> None:
    queue(database, seeds=6, pack=3)
    packs = [claim(database), claim(database)]
    for one in range(3):  # by turns, as their members end at about the same time
        give_back(database, [packs[1][one], packs[0][one]])
    assert [seeds(claim(database)) for _ in packs] == [seeds(pack) for pack in packs]


def test_a_member_is_not_claimed_before_its_mates_are_given_back(database: Database) -> None:
    queue(database, seeds=3)
    before = claim(database)
    for left in (2, 1):
        give_back(database, [before[left]])
        assert claim(database) == []
    give_back(database, before[:1])
    assert len(claim(database)) == 3


def test_mates_are_left_to_the_slot_that_has_claimed_the_first_of_a_pack(
    database: Database,
) -> None:
    queue(database, seeds=3)
    give_back(database, claim(database))
    first = head_of(database)
    assert head_of(database) is None  # another slot, before the mates are taken
    assert first is not None
    assert len(with_mates(database, first, 30).mates) == 2


def test_mates_of_a_first_one_whose_worker_was_lost_go_on_without_it(database: Database) -> None:
    queue(database, seeds=3)
    give_back(database, claim(database))
    first = head_of(database)
    assert first is not None
    with database.begin() as connection:
        past = text("update job set lease_until = clock_timestamp() where id = :job")
        connection.execute(past, {"job": first.job})
    assert reaper.reap_one(database, first.job) == 1
    sizes = sorted(len(claim(database)) for _ in range(2))
    assert sizes == [1, 2]


def test_a_lost_pack_comes_back_once_and_its_members_go_on_alone_after_that(
    database: Database,
) -> None:
    queue(database, seeds=3)
    give_back(database, claim(database), 3)
    again = claim(database)
    assert len(again) == 3
    give_back(database, again, 3)
    assert [len(claim(database)) for _ in range(3)] == [1, 1, 1]


def test_a_pack_comes_back_from_the_newest_update_after_which_all_were_saved(
    database: Database,
) -> None:
    queue(database, seeds=3)
    before = claim(database)
    for one in before:
        save(database, one, 10, 20)
    save(database, before[0], 30)  # and then the process was killed
    give_back(database, before, 3)
    again = claim(database)
    assert len(again) == 3
    assert {one.resume[0].step for one in again} == {20}


def test_members_that_share_no_checkpoint_go_on_alone(database: Database) -> None:
    queue(database, seeds=2)
    before = claim(database)
    save(database, before[0], 10)
    give_back(database, before)
    assert [len(claim(database)) for _ in range(2)] == [1, 1]


def test_a_cancelled_member_does_not_keep_the_others_apart(database: Database) -> None:
    queue(database, seeds=3)
    before = claim(database)
    give_back(database, before)
    changes.cancel(database, str(before[0].job))
    assert seeds(claim(database)) == [1, 2]


def test_a_cancelled_member_that_is_tried_again_does_not_wait_for_the_pack(
    database: Database,
) -> None:
    queue(database, seeds=3)
    before = claim(database)
    changes.cancel(database, str(before[1].job))
    assert leases.fail(database, before[1], Failed.from_error(JobCancelled("it was cancelled")))
    changes.retry(database, str(before[1].job))
    assert seeds(claim(database)) == [1]


def test_a_limit_on_running_jobs_lets_a_part_of_a_pack_come_back(database: Database) -> None:
    queue(database, seeds=4)
    give_back(database, claim(database))
    asked = LimitRequest(subject="owner", name="ada", running=2)
    allowances.put(database, asked, Actor("root"))
    first = claim(database)
    assert seeds(first) == [0, 1]
    assert claim(database) == []
    give_back(database, first)
    assert seeds(claim(database)) == [0, 1]
