"""A steady load of short jobs, submitted as by a careful client."""

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
    "device": "cpu",
    "checkpoint": {"every_steps": STEPS_BETWEEN_CHECKPOINTS, "every_s": 3600},
    "max_attempts": 50,
}


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
        key = str(uuid4())
        spec = {**ORDINARY, **changes}
        while True:
            try:
                answer = self._stack.client.post(
                    "/jobs", json=spec, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            except RuntimeError:
                if self._stack.client.is_closed:  # the drill ended during the request
                    raise SystemExit from None
                raise
            if answer.status_code in (200, 202):
                job: str = answer.json()["id"]
                with self._lock:
                    self.accepted.append(Accepted(job, ends))
                return job
            if answer.status_code < 500:
                raise RuntimeError(f"the job was refused: {answer.text}")
            time.sleep(0.05)

    def _keep_up(self) -> None:
        number = 0
        while not self._stopping.is_set():
            if self._in_flight() < self._most:
                self.submit(seed=number % 3)
                number += 1
            else:
                self._stopping.wait(0.1)
