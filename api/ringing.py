"""Ring the doorbell off the request's path: a deaf broker must not make a submission slow."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from service.jobs.doorbell import Doorbell

_MOST_PENDING = 1000


class Ringer:
    """
    Rings in the order of the calls, from one thread of its own.

    Calls beyond what the thread can keep up with are dropped: the relay rings
    every queued job again until somebody claims it.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._pending: queue.Queue[str | None] = queue.Queue(_MOST_PENDING)

    def ring(self, device: str) -> None:
        """Ring for *device* soon; never wait, never fail."""
        try:
            self._pending.put_nowait(device)
        except queue.Full:
            return

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ring in the background; on exit, what is pending is left to the relay."""
        thread = Thread(target=self._ring_for_ever, name="ringer", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._drop_pending()
            self._pending.put(None)
            thread.join(5)

    def _ring_for_ever(self) -> None:
        while (device := self._pending.get()) is not None:
            self._doorbell.ring(device)

    def _drop_pending(self) -> None:
        while True:
            try:
                self._pending.get_nowait()
            except queue.Empty:
                return
