"""The cost of reporting a metric during a training, while a thread sends them through a pipe."""

from __future__ import annotations

import os
import statistics
import threading
import time

from benchmarks.table import show
from normlab.events import Event
from normlab.training.reporting import BufferedReporter

_POINTS = 20_000
_ROUNDS = 9
_LIMIT_US = 20.0


def main() -> None:
    read_end, write_end = os.pipe()
    reading = threading.Thread(target=_discard, args=(read_end,), daemon=True)
    reading.start()

    def send(event: Event) -> None:
        rest = memoryview(event.to_line())
        while rest:
            rest = rest[os.write(write_end, rest) :]

    with BufferedReporter(send) as reporter:
        costs = [_microseconds(reporter) for _ in range(_ROUNDS)]
    os.close(write_end)
    reading.join()
    row = {
        "points": _POINTS,
        "median_us": statistics.median(costs),
        "slowest_us": max(costs),
        "limit_us": _LIMIT_US,
    }
    show("reporting", [row], "microseconds of the training thread per point, including sending")


def _microseconds(reporter: BufferedReporter) -> float:
    began = time.perf_counter()
    for step in range(_POINTS):
        reporter.metric("train/loss", step, 0.5)
    return (time.perf_counter() - began) / _POINTS * 1e6


def _discard(fd: int) -> None:
    while os.read(fd, 1 << 16):
        pass
    os.close(fd)


if __name__ == "__main__":
    main()
