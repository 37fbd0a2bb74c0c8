"""Any number of workers that only claim and end jobs, each with its own connection."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from statistics import median
from typing import Any

from normlab.events import Finished
from service.jobs import leases
from service.store.database import Database

_LEASE_S = 60.0


def compete(database_url: str, workers: int, jobs: int) -> dict[str, Any]:
    """Let *workers* claim and end about *jobs* queued jobs together; return the cost."""
    with ExitStack() as stack:
        start = threading.Barrier(workers + 1)
        crew = [_Claimer(database_url, n, max(1, jobs // workers), start) for n in range(workers)]
        for one in crew:
            stack.callback(one.database.close)
            one.start()
        start.wait()
        began = time.perf_counter()
        for one in crew:
            one.join()
        took_s = time.perf_counter() - began
    waits = [wait for one in crew for wait in one.waits_s]
    claimed = [job for one in crew for job in one.claimed]
    assert len(claimed) == len(set(claimed)), "a job was claimed twice"
    return {
        "workers": workers,
        "claims": len(claimed),
        "in vain": sum(one.in_vain for one in crew),
        "claims/s": round(len(claimed) / took_s, 1),
        "ms, median": round(1000 * median(waits), 1),
        "ms, worst": round(1000 * max(waits), 1),
    }


class _Claimer(threading.Thread):
    def __init__(self, database_url: str, number: int, jobs: int, start: threading.Barrier) -> None:
        super().__init__(name=f"claimer-{number}", daemon=True)
        self.database = Database(database_url, pool_size=1, name=self.name)
        self.waits_s: list[float] = []
        self.claimed: list[Any] = []
        self.in_vain = 0
        self._jobs = jobs
        self._start = start

    def run(self) -> None:
        with self.database.autocommit():  # connect before the start
            pass
        self._start.wait()
        for _ in range(self._jobs):
            self._work()

    def _work(self) -> None:
        began = time.perf_counter()
        lease = leases.claim(self.database, "cpu", self.name, _LEASE_S)
        self.waits_s.append(time.perf_counter() - began)
        if lease is None:
            self.in_vain += 1
            return
        self.claimed.append(lease.job)
        leases.finish(self.database, lease, Finished(step=1, summary={}))
