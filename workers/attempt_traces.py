"""
The spans of one attempt at a job, from its wait in the queue to its last written metric.

The job process has no exporter, because it runs other people's code. So its worker takes the times
of epochs and evaluations from the metrics that it reports.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Protocol

from normlab.events import AnyEvent, Failed, Metrics, Started
from service.jobs.leases import Lease
from service.traces import Context, Span, Traces, span_id, trace_of
from workers.endings import Ending

_EPOCH = "time/epoch_s"
_EVALUATED = ("val/", "test/")


class AttemptTrace(Protocol):
    """Receives what a supervisor reports about an attempt."""

    def hear(self, events: Sequence[AnyEvent]) -> None:
        """Take new events of the job process."""

    def ended(self, ending: Ending) -> None:
        """Record how the attempt ended; its results are not written yet."""

    def close(self, problem: str | None = None) -> None:
        """Record the attempt; all its results are written, or *problem* says what failed."""


class Untraced:
    """The trace of an attempt if no collector is configured."""

    def hear(self, events: Sequence[AnyEvent]) -> None:
        """Ignore *events*."""

    def ended(self, ending: Ending) -> None:
        """Ignore *ending*."""

    def close(self, problem: str | None = None) -> None:
        """Record nothing."""


class Traced:
    """Records the spans of the attempt *lease*."""

    def __init__(self, traces: Traces, lease: Lease) -> None:
        self._traces = traces
        self._lease = lease
        self._trace, self._submitter = trace_of(lease.job, lease.trace)
        self._own = span_id(lease.job, lease.attempt)
        self._numbers = count()
        self._since_s = time.time()
        self._over_s: float | None = None
        self._last_s = 0.0
        self._trained_s = math.inf
        self._ending: Ending | None = None
        self._record_past()

    def hear(self, events: Sequence[AnyEvent]) -> None:
        """Record the start, epochs and evaluations in *events*."""
        for event in events:
            if isinstance(event, Started):
                self._within("start", self._since_s, time.time(), {"normlab.step": event.step})
            elif isinstance(event, Metrics):
                self._hear_metrics(event)

    def ended(self, ending: Ending) -> None:
        """Record how the attempt ended."""
        self._ending = ending
        self._over_s = time.time()

    def close(self, problem: str | None = None) -> None:
        """Record the attempt and, within it, the time that its last results took to be written."""
        now = time.time()
        if self._over_s is not None:
            self._within("write results", min(self._last_s or now, self._over_s), now)
        how = {"normlab.ending": type(self._ending).__name__.lower()} if self._ending else {}
        self._record(
            "attempt", self._own, self._submitter, (self._since_s, now), how, problem or self._fault
        )

    @property
    def _fault(self) -> str | None:
        return self._ending.message if isinstance(self._ending, Failed) else None

    def _hear_metrics(self, event: Metrics) -> None:
        epochs = event.series.get(_EPOCH)
        if epochs is not None:
            for step, took_s, at_s in zip(epochs.steps, epochs.values, epochs.times, strict=True):
                began_s = max(self._since_s, at_s - took_s)
                self._within("epoch", began_s, at_s, {"normlab.step": step})
                self._trained_s = at_s
        evaluated = {
            step: at_s
            for name, series in event.series.items()
            if name.startswith(_EVALUATED)
            for step, at_s in zip(series.steps, series.times, strict=True)
        }
        for step, at_s in evaluated.items():
            self._within("evaluation", min(self._trained_s, at_s), at_s, {"normlab.step": step})
        moments = [series.times[-1] for series in event.series.values() if series.times]
        self._last_s = max([self._last_s, *moments])

    def _record_past(self) -> None:
        """Record the wait for this attempt and, before it, the attempt of a lost worker."""
        wait = self._lease.wait
        if wait is None:
            return
        self._record(
            "queue", span_id(self._own, "queue"), self._submitter, (wait.since_s, wait.until_s)
        )
        if wait.lost_since_s is not None:
            before = self._lease.attempt - 1
            times = (wait.lost_since_s, wait.since_s)
            own: dict[str, str | int] = {"normlab.attempt": before, "normlab.ending": "lost"}
            lost = span_id(self._lease.job, before)
            self._record("attempt", lost, self._submitter, times, own, "its worker was lost")

    def _within(
        self, name: str, since_s: float, until_s: float, own: Mapping[str, int] | None = None
    ) -> None:
        identity = span_id(self._own, name, next(self._numbers))
        self._record(name, identity, self._own, (since_s, until_s), own or {})

    def _record(
        self,
        name: str,
        identity: str,
        parent: str | None,
        times: tuple[float, float],
        own: Mapping[str, str | int] | None = None,
        problem: str | None = None,
    ) -> None:
        lease = self._lease
        attributes: dict[str, str | int | float] = {
            "normlab.job": str(lease.job),
            "normlab.attempt": lease.attempt,
            "normlab.worker": lease.worker,
            "normlab.device": lease.device,
            **(own or {}),
        }
        context = Context(self._trace, identity)
        self._traces.record(Span(name, context, parent, *times, attributes, problem))


def trace(traces: Traces | None, lease: Lease) -> AttemptTrace:
    """Begin the trace of the attempt *lease*."""
    return Untraced() if traces is None else Traced(traces, lease)
