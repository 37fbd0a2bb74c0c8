"""The GPUs of a worker: each running job has its own, one a replica."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from uuid import UUID

from normlab.errors import InvalidSpec
from service.jobs.leases import Lease


class GpuPool:
    """
    Hand out GPUs with jobs, and take them back.

    Args:
        names: as CUDA_VISIBLE_DEVICES has them.
    """

    def __init__(self, names: list[str]) -> None:
        self._free = list(names)
        self._held: dict[UUID, list[str]] = {}
        self._lock = threading.Lock()

    def claim(self, take: Callable[[int], Lease | None]) -> Lease | None:
        """
        Take a job, and as many GPUs as it has replicas.

        Args:
            take: claims a job that has at most so many replicas.
        """
        with self._lock:
            claim = take(len(self._free)) if self._free else None
            if claim is not None:
                wanted = claim.spec.replicas
                self._held[claim.job] = self._free[:wanted]
                del self._free[:wanted]
            return claim

    def of(self, job: UUID) -> list[str]:
        """Return the GPUs that *job* has."""
        with self._lock:
            return list(self._held[job])

    def give_back(self, job: UUID) -> None:
        """Take back what *job* has; its processes have ended."""
        with self._lock:
            self._free += self._held.pop(job)


def gpu_names(slots: int, environment: Mapping[str, str], there: int | None = None) -> list[str]:
    """
    Return a GPU for each slot: those that the worker itself was given, or the first of the host.

    Args:
        there: how many the host has, if that is known.

    Raises:
        InvalidSpec: there are fewer than slots, on the host or among those that were given.
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
