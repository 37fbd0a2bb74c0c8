"""The pipes of a job process are read to the end, whatever they contain."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from normlab.events import Metrics, Progress, Series
from workers import reading
from workers.job_pipes import EventPipe
from workers.reading import OutputReader


@pytest.fixture
def pipes() -> Iterator[tuple[OutputReader, int, int]]:
    events_read, events_write = os.pipe()
    log_read, log_write = os.pipe()
    yield OutputReader(events_read, log_read), events_write, log_write
    for fd in (events_write, log_write):
        with contextlib.suppress(OSError):  # the test may have closed it
            os.close(fd)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def test_events_and_log_arrive_in_order(pipes: tuple[OutputReader, int, int]) -> None:
    reader, events, log = pipes
    sent = [Progress(step=n, steps=9, epoch=0, epochs=1) for n in range(9)]
    for event in sent:
        os.write(events, event.to_line())
    os.write(log, b"hello\n")
    _close(events, log)
    reader.join(60)
    harvest = reader.take()
    assert reader.ended
    assert (harvest.events, harvest.log) == (sent, b"hello\n")


def test_events_of_a_pack_say_whose_they_are(pipes: tuple[OutputReader, int, int]) -> None:
    reader, events, log = pipes
    sent = [Progress(step=n, steps=9, epoch=0, epochs=1) for n in range(3)]
    for member, event in zip((2, 0, 11), sent):
        EventPipe(events).send(event, member)
    os.write(events, sent[0].to_line())
    _close(events, log)
    reader.join(60)
    harvest = reader.take()
    assert (harvest.events, harvest.members) == ([*sent, sent[0]], [2, 0, 11, 0])


def test_a_line_that_is_not_an_event_goes_to_the_log(pipes: tuple[OutputReader, int, int]) -> None:
    reader, events, log = pipes
    os.write(events, b"Segmentation fault\n")
    _close(events, log)
    reader.join(60)
    assert reader.take().log == b"[not an event] Segmentation fault\n"


def test_half_a_line_of_a_killed_process_is_dropped(pipes: tuple[OutputReader, int, int]) -> None:
    reader, events, log = pipes
    os.write(events, b'{"type": "prog')
    _close(events, log)
    reader.join(60)
    assert reader.take() == reading.Harvest([], b"")


def test_an_event_that_comes_in_pieces_is_one_event(pipes: tuple[OutputReader, int, int]) -> None:
    reader, events, _ = pipes
    event = Metrics(series={"train/loss": Series(steps=[1], values=[0.5], times=[2.0])})
    line = event.to_line()
    os.write(events, line[:10])
    assert not reader.wait(0.05) or not reader.take().events
    os.write(events, line[10:])
    assert reader.wait(60)
    assert reader.take().events == [event]


def test_a_job_that_writes_too_much_waits_and_loses_nothing(
    pipes: tuple[OutputReader, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_WAITING_BYTES", 1000)
    reader, events, log = pipes
    os.set_blocking(log, False)
    sent = 0
    try:
        while sent < 10_000_000:
            sent += os.write(log, b"x" * 4096)
    except BlockingIOError:
        pass  # the pipe is full, because the reader waits
    assert sent < 10_000_000
    _close(events, log)
    received = 0
    while received < sent:
        assert reader.wait(60)
        received += len(reader.take().log)
    assert received == sent
