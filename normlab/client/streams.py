"""Server-sent events of one job or of all, resumed after a lost connection."""

from __future__ import annotations

from typing import Iterator, Optional

from httpx_sse import EventSource

from normlab.client.transport import Transport, pause
from normlab.errors import NormlabError, ServiceUnavailable
from normlab.records import EventRecord

# The server sends a comment every few seconds: longer silence means a dead connection.
SILENCE_S = 45.0
# kinds of event that are final states of a job
LAST = frozenset({"succeeded", "failed", "cancelled"})


def events(transport: Transport, job: Optional[str], after: int) -> Iterator[EventRecord]:
    """
    Yield the events of *job* after event number *after*, until it has ended.

    Without a job, yield those of all jobs, without an end; with *after* 0, from now on.

    Raises:
        ServiceUnavailable: after several connections in a row without an event.
    """
    seen, failures = after, 0
    while True:
        try:
            for event in _one_connection(transport, job, seen):
                seen, failures = max(seen, event.seq), 0
                yield event
                # a retried job has ended before: ask for its state
                if event.kind in LAST and _ended(transport, job):
                    return
            lost: Optional[NormlabError] = None
        except ServiceUnavailable as e:
            lost = e
        if lost is None and _ended(transport, job):
            return
        failures += 1
        if lost is not None and failures >= transport.tries:
            raise lost
        transport.sleep(pause(min(failures, 10)))


def _one_connection(transport: Transport, job: Optional[str], seen: int) -> Iterator[EventRecord]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if seen:
        headers["Last-Event-ID"] = str(seen)
    path = "/events" if job is None else f"/jobs/{job}/events"
    with transport.stream(path, headers=headers, silence_s=SILENCE_S) as answer:
        for message in EventSource(answer).iter_sse():
            if message.data:
                yield EventRecord.model_validate_json(message.data)


def _ended(transport: Transport, job: Optional[str]) -> bool:
    return job is not None and transport.send("GET", f"/jobs/{job}").json()["state"] in LAST
