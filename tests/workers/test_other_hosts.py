"""How the supervisor of a leader handles the other hosts."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.events import Failed, Finished
from service.jobs import attendance, leases, seats, workers
from service.jobs.leases import Lease
from service.jobs.seats import Chair, Offer, Seat
from service.store.database import Database
from tests.service.work import submit
from workers.endings import HOST_LOST, PROCESS_LOST, Released, host_lost
from workers.other_hosts import OtherHosts

OOM = Failed(code="out_of_device_memory", failure_kind="oom", retryable=False, message="full")
DIED = Failed(code=PROCESS_LOST, failure_kind="lost", retryable=True, message="died")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def pair(database: Database) -> tuple[Lease, Seat]:
    """A leader's lease, and the seat of the other host."""
    for name in "ab":
        workers.beat(
            database,
            worker=name,
            device="cpu",
            hostname="",
            slots=1,
            busy=0,
            description="",
            memory_bytes=None,
            versions={},
            facts={"address": name},
        )
    submit(database, replicas=2, hosts=2)
    offer = seats.claim(database, Chair("a", "cpu", "a"), 30)
    lease = seats.claim(database, Chair("b", "cpu", "b"), 30)
    assert isinstance(offer, Offer)
    seat = seats.claim(database, Chair("a", "cpu", "a", offer=offer.id), 30)
    assert isinstance(lease, Lease)
    assert isinstance(seat, Seat)
    return lease, seat


def _others(database: Database, lease: Lease, **changes: Any) -> OtherHosts:
    return OtherHosts(database, lease, **{"lease_s": 10.0, "clock": Clock(), **changes})


def test_the_cause_on_another_host_is_that_of_the_attempt(
    database: Database, pair: tuple[Lease, Seat]
) -> None:
    lease, seat = pair
    attendance.end(database, seat, OOM)
    found = _others(database, lease).cause_of(host_lost("connection closed by peer"))
    assert isinstance(found, Failed)
    assert (found.code, found.retryable, found.message) == (OOM.code, False, "on a: full")


def test_an_own_cause_is_not_that_of_another_host(
    database: Database, pair: tuple[Lease, Seat]
) -> None:
    lease, seat = pair
    attendance.end(database, seat, host_lost("connection closed by peer"))
    for own in (OOM, DIED, Finished(step=1, summary={}), Released("its worker left")):
        assert _others(database, lease).cause_of(own) == own


def test_a_lost_connection_that_nobody_explains_is_the_cause(
    database: Database, pair: tuple[Lease, Seat]
) -> None:
    found = _others(database, pair[0]).cause_of(host_lost("connection closed by peer"))
    assert isinstance(found, Failed)
    assert (found.code, found.retryable) == (HOST_LOST, True)


def test_a_silent_host_ends_the_attempt_unless_the_database_was_silent_too(
    database: Database, pair: tuple[Lease, Seat]
) -> None:
    lease, _ = pair
    clock = Clock()
    others = _others(database, lease, clock=clock)
    workers.leave(database, "a")
    others.look()
    assert not others.ends_it()
    clock.now += 10  # the length of a lease, in which the other host could have renewed its seat
    others.look()
    clock.now += 5  # the time in which the leader's own process could have said more
    assert others.ends_it()
    found = others.cause_of(DIED)
    assert isinstance(found, Failed)
    assert (found.code, found.message) == ("worker_lost", "worker a at a fell silent")


def test_hosts_have_a_whole_lease_after_an_outage_to_renew_their_seats(
    database: Database, pair: tuple[Lease, Seat]
) -> None:
    clock = Clock()
    others = _others(database, pair[0], clock=clock)
    workers.leave(database, "a")
    clock.now += 60
    others.miss()
    others.look()
    clock.now += 6
    assert not others.ends_it()
    clock.now += 10
    others.look()
    clock.now += 6
    assert others.ends_it()


def test_a_host_whose_process_lost_the_connection_ends_the_attempt(
    database: Database, pair: tuple[Lease, Seat]
) -> None:
    lease, seat = pair
    clock = Clock()
    others = _others(database, lease, clock=clock)
    attendance.end(database, seat, host_lost("timed out"))
    others.look()
    clock.now += 6
    assert others.ends_it()
    found = others.cause_of(DIED)
    assert isinstance(found, Failed)
    assert found.code == HOST_LOST


def test_a_host_that_leaves_asks_for_a_drain(database: Database, pair: tuple[Lease, Seat]) -> None:
    lease, seat = pair
    others = _others(database, lease)
    others.look()
    assert not others.leaves
    attendance.attend(database, seat, 30, leaving=True)
    others.look()
    assert others.leaves


def test_a_job_on_one_host_has_no_others(database: Database) -> None:
    submit(database)
    lease = leases.claim(database, "cpu", "w", 30)
    assert lease is not None
    others = _others(database, lease)
    others.look()
    assert not others.ends_it()
    assert others.cause_of(DIED) == DIED
    assert lease.hosts == ()
