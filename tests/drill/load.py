"""A steady load of short jobs and packs, submitted as by a careful client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from tests.drill.drill_stack import DrillStack

STEPS_BETWEEN_CHECKPOINTS = 10
# Two or three seconds on one busy core: long enough to be interrupted several times.
ORDINARY: dict[str, Any] = {
    "normalizer": "batch",
    "model": {"name": "convnet", "width": 4},
    "dataset": {"name": "digits"},
    "batch_size": 16,
    "threads": 1,
    "epochs": 4,
    "evaluate_every": 2,
    "optimizer": {"lr": 0.003},  # so low that updates hardly amplify the rounding of packs
    "device": "cpu",
    "checkpoint": {"every_steps": STEPS_BETWEEN_CHECKPOINTS, "every_s": 3600},
    "max_attempts": 50,
}


MEMBERS = 3  # of each pack; their seeds are those of the jobs alone, so that each has twins
_PACK_EVERY = 4  # submissions


@dataclass(frozen=True)
class Accepted:
    """An accepted job, and the states in which it may end."""

    id: str
    ends: tuple[str, ...]


class Load:
    """Keep some jobs in the system; seeds repeat, so equal jobs can be compared."""

    def __init__(self, stack: DrillStack, in_flight: Callable[[], int], most: int = 5) -> None:
        self.accepted: list[Accepted] = []
        self._stack = stack
        self._in_flight = in_flight
        self._most = most
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="load", daemon=True)

    def start(self) -> None:
        """Start submitting."""
        self._thread.start()

    def stop(self) -> None:
        """Stop submitting."""
        self._stopping.set()
        self._thread.join()

    def submit(self, ends: tuple[str, ...] = ("succeeded",), **changes: Any) -> str:
        """Submit one job until it is accepted, under one key; return its id."""
        key = {"Idempotency-Key": str(uuid4())}
        answer = self._until_answered("POST", "/jobs", json={**ORDINARY, **changes}, headers=key)
        job: str = answer.json()["id"]
        self._accept({job: ends})
        return job

    def submit_pack(
        self, first_ends: tuple[str, ...] = ("succeeded",), priority: int = 0
    ) -> list[str]:
        """Submit a study whose cells are one pack, until it is accepted; return its jobs."""
        asked = {
            "name": f"pack {uuid4()}",  # the same study if it is sent again
            "base": ORDINARY,
            "seeds": MEMBERS,
            "pack": MEMBERS,
            "priority": priority,
            "reuse": False,
        }
        study = self._until_answered("POST", "/studies", json=asked).json()["id"]
        cells = self._until_answered("GET", f"/studies/{study}/cells").json()["cells"]
        jobs: list[str] = [cell["job"] for cell in cells]
        self._accept({**dict.fromkeys(jobs, ("succeeded",)), jobs[0]: first_ends})
        return jobs

    def _accept(self, ends: dict[str, tuple[str, ...]]) -> None:
        with self._lock:
            self.accepted += [Accepted(job, allowed) for job, allowed in ends.items()]

    def _until_answered(self, method: str, path: str, **request: Any) -> httpx.Response:
        while True:
            try:
                answer = self._stack.client.request(method, path, **request)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            except RuntimeError:
                if self._stack.client.is_closed:  # the drill ended during the request
                    raise SystemExit from None
                raise
            if answer.status_code in (200, 202):
                return answer
            if answer.status_code < 500:
                raise RuntimeError(f"{method} {path} was refused: {answer.text}")
            time.sleep(0.05)

    def _keep_up(self) -> None:
        number = 0
        while not self._stopping.is_set():
            if self._in_flight() >= self._most:
                self._stopping.wait(0.1)
                continue
            number += 1
            if number % _PACK_EVERY == 0:
                self.submit_pack()
            else:
                self.submit(seed=number % MEMBERS)
