"""The GPUs of a worker: each running job has its own, one per replica."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from uuid import UUID

from normlab.errors import InvalidSpec
from service.jobs.leases import Lease
from service.jobs.seats import Offer, Seat

Work = Lease | Seat | Offer


class GpuPool:
    """
    Assign GPUs to jobs, and take them back.

    Args:
        names: the names of GPUs, as in CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, names: list[str]) -> None:
        self._free = list(names)
        # by attempt too: a job may be claimed again before its last attempt gives its GPUs back
        self._held: dict[tuple[UUID, int], list[str]] = {}
        self._offered: dict[UUID | None, list[str]] = {}
        self._lock = threading.Lock()

    def claim(self, take: Callable[[int], Work | None], offer: UUID | None = None) -> Work | None:
        """
        Claim work, and assign one GPU per replica of it on this host.

        The GPUs of an offer are kept, until its slot claims again and names that *offer*.

        Args:
            take: claims work with at most the given number of replicas on this host.
        """
        with self._lock:
            free = [*self._offered.get(offer, []), *self._free]
            work = take(len(free)) if free else None
            self._offered.pop(offer, None)
            wanted = _units(work)
            self._free = free[wanted:]
            if isinstance(work, Offer):
                self._offered[work.id] = free[:wanted]
            elif work is not None:
                for lease in _leases(work):
                    self._held[_attempt(lease)] = free[:wanted]
            return work

    def of(self, lease: Lease) -> list[str]:
        """Return the GPUs of the attempt of *lease*."""
        with self._lock:
            return list(self._held[_attempt(lease)])

    def give_back(self, lease: Lease) -> None:
        """Take back the GPUs of the attempt, after its processes and its mates have ended."""
        with self._lock:
            own = self._held.pop(_attempt(lease))
            if own not in self._held.values():  # the members of a pack share their GPUs
                self._free += own


def gpu_names(slots: int, environment: Mapping[str, str], there: int | None = None) -> list[str]:
    """
    Return one GPU per slot: those assigned to the worker, or the first ones of the host.

    Args:
        there: the number of GPUs of the host, if known.

    Raises:
        InvalidSpec: the host or the assignment has fewer GPUs than slots.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        names = [str(number) for number in range(slots if there is None else there)]
        whose = f"this host has {len(names)}"
    else:
        names = [name.strip() for name in given.split(",") if name.strip()]
        whose = f"CUDA_VISIBLE_DEVICES={given!r} names {len(names)}"
    if len(names) < slots:
        raise InvalidSpec(
            f"{slots} slots take a GPU each, and {whose}; "
            f"start the worker with --slots {max(1, len(names))}, or give it more"
        )
    return names[:slots]


def _units(work: Work | None) -> int:
    if work is None:
        return 0
    if isinstance(work, Offer):
        return work.units
    lease = work.lease if isinstance(work, Seat) else work
    return lease.spec.replicas_per_host


def _leases(work: Lease | Seat) -> list[Lease]:
    lease = work.lease if isinstance(work, Seat) else work
    return [lease, *lease.mates]


def _attempt(lease: Lease) -> tuple[UUID, int]:
    return lease.job, lease.attempt
