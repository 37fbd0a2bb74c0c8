from __future__ import annotations

import math
import threading

import pytest

from normlab.events import Event, Metrics, Progress, from_line
from normlab.training.reporting import BufferedReporter

PROGRESS = Progress(step=1, steps=2, epoch=0, epochs=1)


def points(events: list[Event]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for event in events:
        if isinstance(event, Metrics):
            found += zip(event.series["loss"].steps, event.series["loss"].values)
    return found


def test_an_event_comes_after_every_point_before_it() -> None:
    sent: list[Event] = []
    with BufferedReporter(sent.append, interval_s=3600) as reporter:
        reporter.metric("loss", 1, 0.5)
        reporter.metric("loss", 2, 0.25)
        reporter.event(PROGRESS)
        reporter.metric("loss", 3, 0.125)
    assert [type(event) for event in sent] == [Metrics, Progress, Metrics]
    assert points(sent) == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_points_are_sent_by_time_without_being_asked() -> None:
    came = threading.Event()
    with BufferedReporter(lambda event: came.set(), interval_s=0.01) as reporter:
        reporter.metric("loss", 1, 0.5)
        assert came.wait(10)


def test_many_points_are_sent_at_once_before_their_time() -> None:
    came = threading.Event()
    with BufferedReporter(lambda event: came.set(), interval_s=3600, most=10) as reporter:
        for step in range(10):
            reporter.metric("loss", step, 0.5)
        assert came.wait(10)


def test_nothing_is_lost_between_the_threads() -> None:
    sent: list[Event] = []
    with BufferedReporter(sent.append, interval_s=0.001, most=7) as reporter:
        for step in range(5000):
            reporter.metric("loss", step, float(step))
            if step % 97 == 0:
                reporter.flush()
    assert points(sent) == [(step, float(step)) for step in range(5000)]


def test_the_training_ends_when_its_supervisor_is_gone() -> None:
    failed = threading.Event()

    def send(event: Event) -> None:
        failed.set()
        raise BrokenPipeError

    reporter = BufferedReporter(send, interval_s=3600, most=1)
    reporter.metric("loss", 1, 0.5)
    assert failed.wait(10)
    with pytest.raises(BrokenPipeError):
        reporter.close()


def test_non_finite_values_are_transmitted() -> None:
    sent: list[Event] = []
    with BufferedReporter(sent.append) as reporter:
        reporter.metric("loss", 1, math.nan)
        reporter.metric("loss", 2, math.inf)
    back = from_line(sent[0].to_line())
    assert isinstance(back, Metrics)
    assert str(back.series["loss"].values) == "[nan, inf]"
