"""Jobs on several hosts: all hosts of a job are assigned at once, in the order of the jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from normlab.events import Failed, Finished
from service.jobs import attendance, leases, reading, seats, workers
from service.jobs.leases import Lease
from service.jobs.seats import Chair, Offer, Seat
from service.store.database import Database
from tests.service.work import reap, submit

PAIR: dict[str, Any] = {"replicas": 2, "hosts": 2}
OOM = Failed(code="out_of_device_memory", failure_kind="oom", retryable=False, message="full")


def _beat(database: Database, *addresses: str, slots: int = 1, device: str = "cpu") -> None:
    for address in addresses:
        workers.beat(
            database,
            worker=f"w-{address}",
            device=device,
            hostname="a-host",
            slots=slots,
            busy=0,
            description="",
            memory_bytes=None,
            versions={},
            facts={"address": address},
        )


def _look(
    database: Database, address: str, found: Lease | Seat | Offer | None = None, **changes: Any
) -> Lease | Seat | Offer | None:
    """Let a slot of the host look for work, after it *found* something before."""
    offer = found.id if isinstance(found, Offer) else None
    chair = Chair(**{"worker": f"w-{address}", "device": "cpu", "address": address, **changes})
    return seats.claim(database, Chair(**{**vars(chair), "offer": offer}), 30)


def _pair(database: Database) -> tuple[Lease, Seat]:
    waits = _look(database, "10.0.0.1")
    lease = _look(database, "10.0.0.2")
    seat = _look(database, "10.0.0.1", waits)
    assert isinstance(lease, Lease)
    assert isinstance(seat, Seat)
    return lease, seat


def _lapse(database: Database, seat: Seat) -> None:
    with database.begin() as connection:
        past = text(
            "update seat set live_until = clock_timestamp() - interval '1 s' where id = :id"
        )
        connection.execute(past, {"id": seat.id})


def test_the_slot_that_completes_the_hosts_leads_and_the_one_that_waited_gets_a_seat(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    job = submit(database, **PAIR)
    assert job.waiting_for == "its turn at workers for cpu on 2 hosts"
    lease, seat = _pair(database)
    assert str(lease.job) == job.id
    assert [host.address for host in lease.hosts] == ["10.0.0.2", "10.0.0.1"]
    assert (seat.number, seat.address, seat.lease.attempt) == (1, "10.0.0.1", 1)
    (attempt,) = reading.get(database, job.id).attempts
    assert [host.worker for host in attempt.hosts] == ["w-10.0.0.2", "w-10.0.0.1"]


def test_a_job_for_which_too_few_hosts_live_waits_says_so_and_lets_others_pass(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1")
    pair = submit(database, **PAIR, priority=9)
    single = submit(database)
    found = _look(database, "10.0.0.1")
    assert isinstance(found, Lease)
    assert str(found.job) == single.id
    waits = reading.get(database, pair.id).waiting_for
    assert waits == "workers for cpu on 2 hosts: 1 of them live now"
    assert _look(database, "10.0.0.1") is None


def test_a_slot_waits_for_a_job_on_several_hosts_instead_of_taking_those_behind_it(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    pair = submit(database, **PAIR)
    singles = [submit(database) for _ in range(3)]
    waits = _look(database, "10.0.0.1")
    assert isinstance(waits, Offer)
    assert isinstance(_look(database, "10.0.0.1", waits), Offer)
    # one slot of a host waits: its other slots continue with the queue
    second = _look(database, "10.0.0.1", worker="another")
    assert isinstance(second, Lease)
    assert str(second.job) == singles[0].id
    lease = _look(database, "10.0.0.2")
    assert isinstance(lease, Lease)
    assert str(lease.job) == pair.id


def test_an_urgent_job_on_one_host_ends_the_waiting(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    waits = _look(database, "10.0.0.1")
    urgent = submit(database, priority=5)
    found = _look(database, "10.0.0.1", waits)
    assert isinstance(found, Lease)
    assert str(found.job) == urgent.id
    assert isinstance(_look(database, "10.0.0.2"), Offer)  # nobody is there to lead


def test_two_slots_of_one_host_are_not_two_hosts(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2", slots=2)
    submit(database, **PAIR)
    assert isinstance(_look(database, "10.0.0.1"), Offer)
    assert _look(database, "10.0.0.1", worker="another") is None


@pytest.mark.parametrize("round_", range(3))
def test_two_jobs_never_hold_half_of_the_hosts_each(database: Database, round_: int) -> None:
    addresses = [f"10.0.0.{n}" for n in range(4)]
    _beat(database, *addresses)
    for _ in range(2):
        submit(database, replicas=4, hosts=4)
    found: dict[str, Any] = dict.fromkeys(addresses)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            free = [a for a in addresses if not isinstance(found[a], (Lease, Seat))]
            looks = pool.map(partial(_look, database), free, [found[a] for a in free])
            found |= dict(zip(free, looks, strict=True))
    works = [w.job if isinstance(w, Lease) else w.lease.job for w in found.values()]
    assert len(set(works)) == 1
    assert sum(isinstance(w, Lease) for w in found.values()) == 1


def test_an_offer_of_a_slot_that_looks_no_more_is_not_taken(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    assert isinstance(_look(database, "10.0.0.1"), Offer)
    with database.begin() as connection:
        connection.execute(text("update seat set live_until = clock_timestamp()"))
    assert isinstance(_look(database, "10.0.0.2"), Offer)


def test_a_seat_is_over_with_its_attempt(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    lease, seat = _pair(database)
    assert attendance.attend(database, seat, 30) is not None
    leases.finish(database, lease, Finished(step=1, summary={}))
    assert attendance.attend(database, seat, 30) is None


def test_the_seats_of_a_silent_leader_are_over_when_its_job_is_taken_away(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    _, seat = _pair(database)
    with database.begin() as connection:
        connection.execute(text("update job set lease_until = clock_timestamp() - interval '1 s'"))
    assert reap(database) == 1
    assert attendance.attend(database, seat, 30) is None


def test_the_leader_sees_who_failed_who_leaves_and_who_is_silent(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    lease, seat = _pair(database)
    (other,) = attendance.others(database, lease)
    assert (other.leaving, other.silent, other.failed) == (False, False, None)
    attendance.attend(database, seat, 30, leaving=True)
    attendance.end(database, seat, OOM)
    (other,) = attendance.others(database, lease)
    assert (other.leaving, other.silent, other.failed) == (True, False, OOM)
    _lapse(database, seat)
    assert attendance.others(database, lease)[0].silent


def test_a_worker_that_leaves_is_silent_at_once_and_withdraws_its_offers(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    lease, _ = _pair(database)
    workers.leave(database, "w-10.0.0.1")
    assert attendance.others(database, lease)[0].silent
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    assert isinstance(_look(database, "10.0.0.1"), Offer)
    workers.leave(database, "w-10.0.0.1")
    _beat(database, "10.0.0.1")
    assert isinstance(_look(database, "10.0.0.2"), Offer)


def test_the_others_hear_where_to_meet_from_a_leader_whose_lease_holds(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    lease, seat = _pair(database)
    before = attendance.attend(database, seat, 30)
    assert before is not None
    assert before.endpoint is None
    assert attendance.open_meeting(database, lease, "10.0.0.2:4711")
    after = attendance.attend(database, seat, 30)
    assert after is not None
    assert after.endpoint == "10.0.0.2:4711"
    leases.release(database, lease)
    assert not attendance.open_meeting(database, lease, "10.0.0.2:4712")


def test_a_host_without_gpus_for_its_replicas_is_neither_waited_for_nor_asked(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1", slots=1, device="cuda")
    _beat(database, "10.0.0.2", slots=2, device="cuda")
    submit(database, device="cuda", replicas=4, hosts=2)
    assert _look(database, "10.0.0.2", device="cuda", units=2) is None
    _beat(database, "10.0.0.1", slots=2, device="cuda")
    waits = _look(database, "10.0.0.1", device="cuda", units=2)
    assert isinstance(waits, Offer)
    assert waits.units == 2
    assert isinstance(_look(database, "10.0.0.2", device="cuda", units=2), Lease)


def test_a_job_on_several_hosts_is_left_by_a_claim_for_one(database: Database) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    submit(database, **PAIR)
    assert leases.claim(database, "cpu", "w", 30) is None


def test_a_slot_that_was_away_does_not_sit_down_in_an_attempt_that_is_over(
    database: Database,
) -> None:
    _beat(database, "10.0.0.1", "10.0.0.2")
    job = submit(database, **PAIR)
    waits = _look(database, "10.0.0.1")
    lease = _look(database, "10.0.0.2")
    assert isinstance(lease, Lease)
    leases.fail(database, lease, OOM)
    assert reading.get(database, job.id).state == "failed"
    assert isinstance(waits, Offer)
    assert isinstance(waits.id, UUID)
    assert _look(database, "10.0.0.1", waits) is None
