"""
Seats: how the slots of several hosts join one attempt at a job.

A slot that comes to a job on several hosts offers itself, and stays idle. An offer names no job:
the slot that completes a job's hosts leads its attempt, and gives the other offers their seats in
the same transaction. So no job ever holds only some of its hosts, and no two jobs can wait for each
other's hosts. All times are the database's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.records import HostRecord
from normlab.specs.job_fields import MOST_HOSTS
from normlab.specs.jobs import JobSpec
from service.jobs import leases
from service.jobs.leases import Lease
from service.jobs.turns import Unjudged, in_turn, judging
from service.plugins.abilities import Ability, packages_of
from service.store.database import Database
from service.store.identity import new_id

OFFER_S = 5.0
"""The seconds for which an offer is valid; its slot renews it at least twice in this time."""


@dataclass(frozen=True)
class Chair:
    """A slot that looks for work: *units* of its device are free (None: it has no units)."""

    worker: str
    device: str
    address: str
    units: int | None = None
    offer: UUID | None = None
    """The offer that it made when it last looked."""


@dataclass(frozen=True)
class Offer:
    """The slot waits to be one of a job's hosts, with so many *units*."""

    id: UUID
    units: int


@dataclass(frozen=True)
class Seat:
    """The work of a host that does not lead: its lease is the leader's, without checkpoints."""

    id: UUID
    number: int
    lease: Lease

    @property
    def address(self) -> str:
        """The address of this host."""
        return self.lease.hosts[self.number].address


@dataclass(frozen=True)
class _TooFew:
    hosts: int


# Slots that look at the same time would skip each other's locked offers, and none would lead.
_ONE_BY_ONE = text("""
    select pg_advisory_xact_lock(hashtext('seats'), hashtext(:device))
    where exists (select 1 from job where state = 'queued' and device = :device and hosts > 1)
""")
_LOCKED = text("select job from seat where id = :seat for update")
# Not in one statement with the lock: after waiting for it, a join would still see the old row.
_GIVEN = text("""
    select s.job, s.attempt, s.number, s.device, j.worker, j.owner, j.spec, a.hosts
    from seat s join job j on j.id = s.job and j.attempt = s.attempt and j.state = 'running'
    join attempt a on a.job = s.job and a.number = s.attempt
    where s.id = :seat
""")
# At most one slot of a host waits; its other slots take later jobs.
_REACHED = text("""
    select case when exists (
        select 1 from seat where job is null and device = :device and address = :address
            and live_until > clock_timestamp() and id is distinct from cast(:offer as uuid)
    ) then 1 else (
        select count(distinct coalesce(facts ->> 'address', id)) from worker
        where device = :device and live_until > clock_timestamp()
            and (cast(:units as int) is null or slots >= :each)
    ) end
""")
_OFFERS = text("""
    select id, worker, address from seat
    where job is null and device = :device and address <> :address
        and live_until > clock_timestamp() and (units is null or units >= :each)
        and not exists (
            select 1 from worker w, jsonb_each_text(w.loads) l
            where w.id = seat.worker and l.value <> '' and l.key = any(cast(:code as text[])))
        and (cast(:packages as text[]) = '{}' or exists (
            select 1 from worker w where w.id = seat.worker
                and jsonb_exists_all(w.packages, cast(:packages as text[]))))
    order by id for update skip locked
""")
_OFFER = text("""
    insert into seat (id, worker, device, address, units, live_until) values (
        :id, :worker, :device, :address, cast(:units as int),
        clock_timestamp() + make_interval(secs => :offer_s))
    on conflict (id) do update set live_until = excluded.live_until, units = excluded.units
""")
_GIVE = text("""
    update seat set job = :job, attempt = :attempt, number = :number,
        live_until = clock_timestamp() + make_interval(secs => :lease_s)
    where id = :seat
""")
_DROP = text("delete from seat where id = :seat")
_FORGET = text("""
    delete from seat where job is null and live_until < clock_timestamp() - interval '1 minute'
""")


def claim(
    database: Database, chair: Chair, lease_s: float, ability: Ability | None = None
) -> Lease | Seat | Offer | None:
    """
    Return a seat that *chair* was given, or claim the next job; an offer: the slot waits and calls
    again.

    A job on several hosts has its turn like others, if so many hosts have live workers. A slot that
    reaches such a job takes no job after it in the queue; otherwise several slots would never be
    free at once in a busy queue.
    """

    def find(unloadable: Sequence[str]) -> Lease | Seat | Offer | Unjudged | None:
        with database.begin() as connection:
            connection.execute(_ONE_BY_ONE, {"device": chair.device})
            seat = None if chair.offer is None else _given(connection, chair.offer, lease_s)
            if seat is not None:
                return seat
            found = _next(connection, chair, lease_s, ability, unloadable)
            if chair.offer is not None and not isinstance(found, (Offer, Unjudged)):
                connection.execute(_DROP, {"seat": chair.offer})
            return found

    return judging(ability, find)


def _given(connection: Connection, offer: UUID, lease_s: float) -> Seat | None:
    if connection.execute(_LOCKED, {"seat": offer}).scalar() is None:
        return None
    row = connection.execute(_GIVEN, {"seat": offer}).first()
    if row is None:  # that attempt is over already
        connection.execute(_DROP, {"seat": offer})
        return None
    place = {"seat": offer, "job": row.job, "attempt": row.attempt, "number": row.number}
    connection.execute(_GIVE, {**place, "lease_s": lease_s})
    lease = Lease(
        job=row.job,
        attempt=row.attempt,
        worker=row.worker,
        owner=row.owner,
        device=row.device,
        spec=JobSpec.from_store(row.spec),
        resume=(),
        time_left_s=None,
        hosts=tuple(HostRecord.model_validate(host) for host in row.hosts),
    )
    return Seat(offer, row.number, lease)


def _next(
    connection: Connection,
    chair: Chair,
    lease_s: float,
    ability: Ability | None,
    unloadable: Sequence[str],
) -> Lease | Offer | Unjudged | None:
    room: dict[str, Any] = {"device": chair.device, "most_replicas": chair.units}
    room |= {"most_hosts": MOST_HOSTS, "unloadable": [*unloadable]}

    def accept(job: Any) -> Lease | Offer | _TooFew | None:
        if job.hosts == 1:
            return leases.take(connection, job.id, chair.device, chair.worker, lease_s)
        return _lead_or_wait(connection, chair, job, lease_s)

    while True:
        found = in_turn(connection, room, ability, accept)
        if not isinstance(found, _TooFew):
            return found
        room["most_hosts"] = found.hosts  # too few hosts for that job: later ones go first


def _lead_or_wait(
    connection: Connection, chair: Chair, job: Any, lease_s: float
) -> Lease | Offer | _TooFew | None:
    asked = {"device": chair.device, "address": chair.address, "each": job.each}
    code = {"code": job.code, "packages": packages_of(job.code)}
    others = {row.address: row for row in connection.execute(_OFFERS, {**asked, **code})}
    chosen = list(others.values())[: job.hosts - 1]
    if len(chosen) == job.hosts - 1:
        return _lead(connection, chair, job.id, chosen, lease_s)
    there = {**asked, "offer": chair.offer, "units": chair.units}
    reached = connection.execute(_REACHED, there).scalar_one()
    if reached < job.hosts:
        return _TooFew(reached)
    return _offer(connection, chair, job.each)


def _lead(
    connection: Connection, chair: Chair, job: UUID, others: Sequence[Any], lease_s: float
) -> Lease | None:
    hosts = [HostRecord(worker=row.worker, address=row.address) for row in (chair, *others)]
    lease = leases.take(connection, job, chair.device, chair.worker, lease_s, hosts)
    if lease is not None:
        for number, row in enumerate(others, start=1):
            place = {"seat": row.id, "job": job, "attempt": lease.attempt, "number": number}
            connection.execute(_GIVE, {**place, "lease_s": lease_s})
    return lease


def _offer(connection: Connection, chair: Chair, units: int) -> Offer:
    if chair.offer is None:
        connection.execute(_FORGET)
    offer = Offer(chair.offer or new_id(), units)
    values = {
        "id": offer.id,
        "worker": chair.worker,
        "device": chair.device,
        "address": chair.address,
        "units": None if chair.units is None else units,
        "offer_s": OFFER_S,
    }
    connection.execute(_OFFER, values)
    return offer
