"""Report the results of a training in order: metric points in batches, and events."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable, Deque, Dict, List, Optional, Tuple

from typing_extensions import Protocol

from normlab.events import Event, Metrics, Series


class Reporter(Protocol):
    """Receives the records of a training."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Take one point; it may be sent later."""

    def event(self, event: Event) -> None:
        """Send every point taken so far, then *event*."""

    def flush(self) -> None:
        """Send every point taken so far."""


class SilentReporter:
    """Reports nothing: for processes whose results another process reports."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Drop the point."""

    def event(self, event: Event) -> None:
        """Drop the event."""

    def flush(self) -> None:
        """Do nothing."""


class BufferedReporter:
    """
    Send points in batches, from a separate thread.

    Taking a point costs a microsecond: it is put in a queue. The thread sends them every
    *interval_s*, or earlier when there are *most* of them. An error in the thread is raised at the
    next point, event or flush. Close it, or use it as a context manager.

    Args:
        send: called with one event at a time, never concurrently.
        interval_s: the longest time that a point waits.
        most: this many points are sent without waiting.
    """

    def __init__(
        self, send: Callable[[Event], None], interval_s: float = 1.0, most: int = 1000
    ) -> None:
        self._send = send
        self._interval_s = interval_s
        self._most = most
        self._points: Deque[Tuple[str, int, float, float]] = deque()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._failure: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def metric(self, name: str, step: int, value: float) -> None:
        """Take one point; it is sent within *interval_s*."""
        self._points.append((name, step, value, time.time()))
        if len(self._points) >= self._most:
            self._wake.set()
        if self._failure is not None:
            raise self._failure

    def event(self, event: Event) -> None:
        """Send every point taken so far, then *event*."""
        with self._sending:
            self._send_points()
            self._send(event)

    def flush(self) -> None:
        """Send every point taken so far."""
        with self._sending:
            self._send_points()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Send what is left and end the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self.flush()

    def __enter__(self) -> BufferedReporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            try:
                with self._sending:
                    self._send_points()
            except Exception as e:  # the training's own thread raises it
                self._failure = e
                return

    def _send_points(self) -> None:
        columns: Dict[str, Tuple[List[int], List[float], List[float]]] = {}
        while self._points:
            name, step, value, at = self._points.popleft()
            steps, values, times = columns.setdefault(name, ([], [], []))
            steps.append(step)
            values.append(value)
            times.append(at)
        if columns:
            series = {
                name: Series(steps=steps, values=values, times=times)
                for name, (steps, values, times) in columns.items()
            }
            self._send(Metrics(series=series))
