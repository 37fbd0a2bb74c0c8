"""A worker's slots: threads that look for work after a message, and at intervals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

import structlog

from normlab.errors import ServiceUnavailable
from service.jobs.leases import Lease
from service.jobs.seats import OFFER_S, Offer, Seat

_LOOK_S = OFFER_S / 5  # the interval of a slot that waits with its offer
_log = structlog.get_logger()
ClaimWork = Callable[[UUID | None], Lease | Seat | Offer | None]
WorkOn = Callable[[Lease | Seat], None]


class Bell:
    """Wakes idle slots. Rings are counted, so a ring between a query and a wait is not missed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0
        self._waiting = 0

    @property
    def rings(self) -> int:
        """The count to pass to `wait`, read before looking for work."""
        return self._rings

    def ring(self) -> bool:
        """Wake every idle slot; return whether there was one."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()
            return self._waiting > 0

    def wait(self, seen: int, timeout_s: float) -> bool:
        """Wait at most *timeout_s* for a ring after the first *seen*; return if there was one."""
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(lambda: self._rings > seen, timeout_s)
            finally:
                self._waiting -= 1


class Slot(threading.Thread):
    """
    Runs one job after another.

    Args:
        claim: claims the next work, or returns None; it is given the offer that it returned before.
        work_on: runs what was claimed to its end.
        poll_s: the interval at which an idle slot looks for work without a message.
    """

    def __init__(
        self,
        number: int,
        claim: ClaimWork,
        work_on: WorkOn,
        bell: Bell,
        leaving: threading.Event,
        poll_s: float,
    ) -> None:
        super().__init__(name=f"slot-{number}", daemon=True)
        self.busy = False
        self.looked_at = time.monotonic()
        self._offer: UUID | None = None
        self._claim = claim
        self._work_on = work_on
        self._bell = bell
        self._leaving = leaving
        self._poll_s = poll_s

    def run(self) -> None:
        """Look for work until the worker stops."""
        while not self._leaving.is_set():
            rings = self._bell.rings
            if not self._work_once():
                waits = self._offer is not None
                self._bell.wait(rings, min(_LOOK_S, self._poll_s) if waits else self._poll_s)

    def _work_once(self) -> bool:
        """Run the next job; return whether there was one."""
        try:
            work = self._claim(self._offer)
            self._offer = work.id if isinstance(work, Offer) else None
            self.looked_at = time.monotonic()
        except ServiceUnavailable as e:
            _log.warning("cannot_look_for_work", reason=str(e))
            return False
        except Exception:
            _log.exception("cannot_look_for_work")
            return False
        if work is None or isinstance(work, Offer):
            return False
        self.busy = True
        try:
            self._work_on(work)
        except Exception:
            job = work.lease.job if isinstance(work, Seat) else work.job
            _log.exception("slot_survives", job=str(job))
        finally:
            self.busy = False
        return True


class SlotGroup:
    """All slots of a worker; the arguments are those of `Slot`."""

    def __init__(
        self,
        slots: int,
        claim: ClaimWork,
        work_on: WorkOn,
        bell: Bell,
        leaving: threading.Event,
        poll_s: float,
    ) -> None:
        self._slots = [Slot(n, claim, work_on, bell, leaving, poll_s) for n in range(slots)]
        self._bell = bell
        self._leaving = leaving

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def busy(self) -> int:
        """The number of slots that have a job."""
        return sum(slot.busy for slot in self._slots)

    @property
    def idle_and_blind_s(self) -> float:
        """The longest time since an idle slot checked the queue; 0 if all are busy."""
        now = time.monotonic()
        return max((now - slot.looked_at for slot in self._slots if not slot.busy), default=0.0)

    def start(self) -> None:
        """Start looking for work."""
        for slot in self._slots:
            slot.start()

    def drain(self) -> None:
        """Take no more work, let running jobs write a checkpoint and end, and wait for that."""
        self._leaving.set()
        self._bell.ring()
        for slot in self._slots:
            slot.join()
