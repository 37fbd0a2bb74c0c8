"""The other hosts of an attempt, as the supervisor of its leader sees them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import structlog

from normlab.errors import ServiceUnavailable
from normlab.events import AnyEvent, Failed, MeetingOpened
from service.jobs import attendance
from service.jobs.attendance import Other
from service.jobs.leases import Lease
from service.store.database import Database
from workers.endings import HOST_LOST, PROCESS_LOST, Ending

_LAST_WORDS_S = 3.0  # seconds for other hosts to report why their processes ended
_LOOK_S = 0.1
_NOTICE_S = 5.0  # seconds in which the leader's process notices the loss of a host, and reports it
_log = structlog.get_logger()


class OtherHosts:
    """
    Announces where the hosts meet, and notices that one of them leaves, fails or falls silent.

    Args:
        lease: the lease of the leader; without `hosts`, there are no others and nothing to notice.
        lease_s: after this time without a heartbeat, a host counts as lost.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leaves = False
        self._database = database
        self._lease = lease
        self._lease_s = lease_s
        self._clock = clock
        self._endpoint: str | None = None
        self._lost: Failed | None = None
        self._lost_at = math.inf
        self._ended_it = False
        self._trusted_from = clock()

    def hear(self, events: Sequence[AnyEvent]) -> None:
        """Take the endpoint of the meeting from the *events* of the leader's job process."""
        for event in events:
            if isinstance(event, MeetingOpened):
                self._endpoint = event.endpoint
        if self._endpoint is not None:
            self._try(self._announce)

    def look(self) -> None:
        """Check the other hosts, if there are any."""
        if self._lease.hosts:
            self._try(self._look)

    def miss(self) -> None:
        """Record that the database did not answer, so that no host could renew its seat."""
        self._trusted_from = self._clock()

    def ends_it(self) -> bool:
        """Return whether the job process is useless, because another host was lost before."""
        self._ended_it |= self._clock() - self._lost_at > _NOTICE_S
        return self._ended_it

    def cause_of(self, ending: Ending) -> Ending:
        """Return why the attempt ended; often another host failed, and the leader just lost it."""
        if not self._lease.hosts or not isinstance(ending, Failed):
            return ending
        if ending.code not in (HOST_LOST, PROCESS_LOST):
            return ending
        deadline = self._clock() + _LAST_WORDS_S
        while not self._is_explained() and self._clock() < deadline:
            self.look()
            time.sleep(_LOOK_S)
        explains = self._is_explained() or self._ended_it
        return self._lost if explains and self._lost is not None else ending

    def _is_explained(self) -> bool:
        return self._lost is not None and self._lost.code != HOST_LOST

    def _announce(self) -> None:
        if self._endpoint is not None:
            attendance.open_meeting(self._database, self._lease, self._endpoint)
            self._endpoint = None

    def _look(self) -> None:
        others = attendance.others(self._database, self._lease)
        self.leaves = any(other.leaving for other in others)
        trusts = self._clock() - self._trusted_from >= self._lease_s
        found = [failed for other in others if (failed := _trouble(other, trusts)) is not None]
        causes = [failed for failed in found if failed.code != HOST_LOST]
        self._lost = next(iter([*causes, *found]), None)
        if self._lost is None:
            self._lost_at = math.inf
        else:
            self._lost_at = min(self._lost_at, self._clock())

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ServiceUnavailable as e:
            self.miss()
            _log.warning("other_hosts_unseen", job=str(self._lease.job), reason=str(e))


def _trouble(other: Other, trusts: bool) -> Failed | None:
    if other.failed is not None:
        told = f"on {other.host.address}: {other.failed.message}"
        return other.failed.model_copy(update={"message": told})
    if not other.silent or not trusts:
        return None
    return Failed(
        code="worker_lost",
        failure_kind="lost",
        retryable=True,
        message=f"worker {other.host.worker} at {other.host.address} fell silent",
    )
