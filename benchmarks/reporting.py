"""The cost of reporting a metric in a training, compared with Python's logging to a pipe."""

from __future__ import annotations

import logging
import os
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterator

from benchmarks.command import parser_of, show
from normlab.events import Event
from normlab.training.reporting import BufferedReporter

_POINTS = 20_000
_ROUNDS = 9
_LIMIT_US = 20.0

Report = Callable[[str, int, float], None]


def main() -> int:
    """Measure both in turn, print the table, and return 1 if a point costs too much."""
    rounds: int = parser_of(__doc__, _ROUNDS).parse_args().rounds
    with _read_pipe() as fd, BufferedReporter(lambda event: _write(fd, event)) as reporter:
        log = _logging_to(fd)
        pairs = [(_microseconds(reporter.metric), _microseconds(log)) for _ in range(rounds)]
    ours, theirs = (statistics.median(costs) for costs in zip(*pairs))
    row = {
        "points": _POINTS,
        "median_us": ours,
        "slowest_us": max(cost for cost, _ in pairs),
        "limit_us": _LIMIT_US,
        "logging_us": theirs,
        "logging / ours": theirs / ours,
    }
    show("reporting", [row], "microseconds of the training thread per point, with sending")
    return int(ours > _LIMIT_US)


@contextmanager
def _read_pipe() -> Iterator[int]:
    """Yield a pipe to write to, which a thread reads as a supervisor would."""
    read_end, write_end = os.pipe()
    reading = threading.Thread(target=_discard, args=(read_end,), daemon=True)
    reading.start()
    try:
        yield write_end
    finally:
        os.close(write_end)
        reading.join()


def _write(fd: int, event: Event) -> None:
    rest = memoryview(event.to_line())
    while rest:
        rest = rest[os.write(fd, rest) :]


def _logging_to(fd: int) -> Report:
    logger = logging.getLogger("benchmarks.reporting")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(os.fdopen(fd, "w", closefd=False)))
    return lambda name, step, value: logger.info("%s %d %r", name, step, value)


def _microseconds(report: Report) -> float:
    began = time.perf_counter()
    for step in range(_POINTS):
        report("train/loss", step, 0.5)
    return (time.perf_counter() - began) / _POINTS * 1e6


def _discard(fd: int) -> None:
    while os.read(fd, 1 << 16):
        pass
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
