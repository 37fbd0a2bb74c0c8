"""Send wake-up messages in the background, so that a slow broker never delays a submission."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from service.jobs.doorbell import Doorbell

_MOST_PENDING = 1000


class Ringer:
    """
    Sends messages in the order of the calls, from its own thread.

    If there are too many calls for the thread, some are dropped: the relay sends messages for
    every queued job again until a worker claims it.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._pending: queue.Queue[str | None] = queue.Queue(_MOST_PENDING)

    def ring(self, device: str) -> None:
        """Send a message for *device* soon; never block, and never fail."""
        try:
            self._pending.put_nowait(device)
        except queue.Full:
            return

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send messages in the background; on exit, leave pending messages to the relay."""
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
