"""Read the output of a job process in a thread, so that it never waits for the database."""

from __future__ import annotations

import os
import selectors
import threading
from dataclasses import dataclass, field

from pydantic import ValidationError

from normlab.events import AnyEvent, from_line

_READ_AT_ONCE = 1 << 16
# Beyond this, the thread stops reading: the job's reporting then blocks, and nothing is lost.
MAX_WAITING_BYTES = 64 << 20


@dataclass
class Harvest:
    """The data since the last call."""

    events: list[AnyEvent] = field(default_factory=list)
    log: bytes = b""
    members: list[int] = field(default_factory=list)
    """The number of the member that sent the events; 0 for a job alone."""


class OutputReader:
    """Collect events and log bytes from two pipes until both end."""

    def __init__(self, events_fd: int, log_fd: int) -> None:
        self._events_fd = events_fd
        self._log_fd = log_fd
        self._changed = threading.Condition()
        self._events: list[tuple[int, AnyEvent]] = []
        self._log = bytearray()
        self._waiting_bytes = 0
        self._tail = b""
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="job-reader", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether both pipes have ended."""
        return self._ended

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is data to take, or both pipes have ended."""
        with self._changed:
            return self._changed.wait_for(
                lambda: bool(self._events or self._log or self._ended), timeout_s
            )

    def take(self) -> Harvest:
        """Take all data that has arrived."""
        with self._changed:
            members, events = [m for m, _ in self._events], [e for _, e in self._events]
            harvest = Harvest(events, bytes(self._log), members)
            self._events, self._log, self._waiting_bytes = [], bytearray(), 0
            self._changed.notify_all()
        return harvest

    def join(self, timeout_s: float) -> None:
        """Wait until both pipes have ended."""
        self._thread.join(timeout_s)

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._events_fd, selectors.EVENT_READ, self._on_events)
            selector.register(self._log_fd, selectors.EVENT_READ, self._on_log)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, _READ_AT_ONCE)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fd)
                        os.close(key.fd)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _on_events(self, data: bytes) -> None:
        *lines, self._tail = (self._tail + data).split(b"\n")
        self._add([_parsed(line) for line in lines], b"", len(data))

    def _on_log(self, data: bytes) -> None:
        self._add([], data, len(data))

    def _add(self, events: list[tuple[int, AnyEvent] | bytes], log: bytes, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting_bytes < MAX_WAITING_BYTES)
            for event in events:
                if isinstance(event, bytes):
                    self._log += b"[not an event] " + event[:1000] + b"\n"
                else:
                    self._events.append(event)
            self._log += log
            self._waiting_bytes += size
            self._changed.notify_all()


def _parsed(line: bytes) -> tuple[int, AnyEvent] | bytes:
    # a member of a pack marks its events by its number
    number, tab, rest = line.partition(b"\t")
    marked = bool(tab) and number.isdigit()
    try:
        return (int(number), from_line(rest)) if marked else (0, from_line(line))
    except ValidationError:
        return line
