"""Event streams continue after an interruption, and end when the job has ended."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import httpx
import pytest

from normlab.client import Client
from normlab.errors import ServiceUnavailable


def event(seq: int, kind: str) -> str:
    record = {"seq": seq, "job": "j1", "kind": kind, "at": "2026-01-01T00:00:00Z", "payload": {}}
    return f"id: {seq}\ndata: {json.dumps(record)}\n\n"


class FakeStack:
    """Serves the events of one job, in interrupted pieces."""

    def __init__(self, pieces: List[str], state: str = "succeeded") -> None:
        self.pieces = pieces
        self.state = state
        self.resumed_from: List[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            state: Dict[str, Any] = {"state": self.state if not self.pieces else "running"}
            return httpx.Response(200, json=state)
        self.resumed_from.append(request.headers.get("Last-Event-ID", ""))
        if not self.pieces:
            raise httpx.ConnectError("gone")
        headers = {"Content-Type": "text/event-stream"}
        return httpx.Response(200, headers=headers, text=self.pieces.pop(0))

    def client(self) -> Client:
        return Client("http://stack", http=httpx.MockTransport(self), sleep=lambda s: None, tries=3)


def test_a_broken_stream_continues_after_the_last_event_seen() -> None:
    stack = FakeStack([event(1, "queued") + event(2, "running"), event(3, "succeeded")])
    assert [e.seq for e in stack.client().events("j1")] == [1, 2, 3]
    assert stack.resumed_from == ["", "2"]


def test_an_earlier_end_of_a_retried_job_does_not_end_the_stream() -> None:
    first = event(1, "running") + event(2, "failed") + event(3, "queued")
    stack = FakeStack([first, event(4, "running") + event(5, "succeeded")])
    assert [e.seq for e in stack.client().events("j1")] == [1, 2, 3, 4, 5]


def test_a_stream_without_events_is_given_up() -> None:
    stack = FakeStack([])
    with pytest.raises(ServiceUnavailable):
        list(stack.client().events("j1"))
    assert len(stack.resumed_from) == 3


def test_a_stream_can_begin_later() -> None:
    stack = FakeStack([event(8, "succeeded")])
    assert [e.seq for e in stack.client().events("j1", after=7)] == [8]
    assert stack.resumed_from == ["7"]


def test_the_events_of_all_jobs_continue_after_one_of_them_has_ended() -> None:
    stack = FakeStack([event(1, "succeeded"), event(2, "queued") + event(3, "failed")])
    events = stack.client().events()
    assert [next(events).seq for _ in range(3)] == [1, 2, 3]
    assert stack.resumed_from == ["", "1"]
