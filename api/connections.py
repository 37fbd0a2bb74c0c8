"""Limits on connections: number, size of heads, silence; httptools has no such limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_READ_ON = 4  # times the limit of a head, because its end shows whether a browser asks
Pages = Callable[[Scope, int, str], Response | None]
"""Makes the page of an error from a request, the status and the reason; None for a program."""


@dataclass(frozen=True)
class Bounds:
    """
    The limits of a connection.

    Args:
        head_bytes: the bytes of a request's line and headers together.
        headers: the number of header lines.
        body_bytes: on the wire, including chunk framing; the limits of routes are lower.
        head_s: the time to send a whole head, from the start of the connection.
        idle_s: the time without a request, from the last answer on.
        idle_body_s: the time to send the rest of a body after its request was answered.
        stalled_s: the time without reading our data.
        connections: at the same time. A further one replaces a connection without an open request.
    """

    head_bytes: int = 32 << 10
    headers: int = 100
    body_bytes: int = 4 << 20
    head_s: float = 10.0
    idle_s: float = 15.0
    idle_body_s: float = 5.0
    stalled_s: float = 30.0
    connections: int = 1000


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for httptools, with *bounds*, and *pages* for browsers beyond them."""

    def __init__(self, bounds: Bounds, pages: Pages, **others: Any) -> None:
        super().__init__(**others)
        self._bounds = bounds
        self._pages = pages
        self._in_head = True
        self._heads = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.idle_since = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether no request is in progress: none arrived, or all are answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def peer(self) -> str:
        """The address at the other end."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection; if there are too many, close an idle one."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn's own narrowing
        self._close_in(self._bounds.head_s)
        if len(self.connections) > self._bounds.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._close_in(None)
        self._give_up_in(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count *data*, and hand it to the parser."""
        heads, in_head = self._heads, self._in_head
        if not in_head:
            self._body_bytes += len(data)
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if in_head and heads == self._heads:  # otherwise it was a whole head, and the data after it
            self._head_bytes += len(data)
            if self._head_bytes > _READ_ON * self._bounds.head_bytes:
                self._refuse_head(None)
        elif self._body_bytes > self._bounds.body_bytes:
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header, up to one over the limit; drop unused trailers after a body."""
        if self._in_head and len(self.headers) <= self._bounds.headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is too large."""
        self._in_head = False
        self._heads += 1
        self._head_bytes = self._body_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._bounds.head_bytes or len(self.headers) > self._bounds.headers:
            self._refuse_head(self._asked())
        elif not self.transport.is_closing():
            self._close_in(None)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Store a part of the body of a request that has begun."""
        if self.cycle is not None and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Prepare for the next head."""
        self._in_head = True
        if self.cycle is not None and not self.transport.is_closing():
            super().on_message_complete()
            if self.idle:
                self._close_in(self._bounds.idle_s)

    def on_response_complete(self) -> None:
        """Wait for the next request, or the rest of this request's body, with a time limit."""
        super().on_response_complete()
        if self.idle:
            self.cycle.body = bytearray()  # unread data of a refused body
            self.idle_since = time.monotonic()
            bounds = self._bounds
            self._close_in(bounds.idle_s if self._in_head else bounds.idle_body_s)

    def pause_writing(self) -> None:
        """Wait for a slow reader, with a time limit."""
        super().pause_writing()
        self._give_up_in(self._bounds.stalled_s)

    def resume_writing(self) -> None:
        """Continue: the client has read the data."""
        super().resume_writing()
        self._give_up_in(None)

    def send_400_response(self, msg: str) -> None:
        """Answer that the data is not a request."""
        self._refuse(400, "bad_request", f"{msg} Send HTTP/1.1.")

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore the upgrade: a request for a WebSocket is answered like any other request."""

    def _make_room(self) -> None:
        others = [c for c in self.connections if isinstance(c, BoundedProtocol) and c is not self]
        idle = [c for c in others if c.idle and not c.transport.is_closing()]
        if idle:
            _least_deserving(idle).transport.abort()
        else:
            detail = f"all {self._bounds.connections} connections are busy; try again soon"
            self._refuse(503, "service_unavailable", detail)

    def _asked(self) -> Scope:
        path = self.url.partition(b"?")[0].decode("latin-1")
        return {**self.scope, "method": "GET", "path": path, "query_string": b""}

    def _refuse_head(self, asked: Scope | None) -> None:
        bounds = self._bounds
        detail = (
            f"at most {bounds.headers} headers of {bounds.head_bytes:,} bytes, including the "
            f"address, are accepted; name fewer runs at once, or put long filters into fewer "
            "requests"
        )
        page = None if asked is None else self._pages(asked, 431, detail)
        self._refuse(431, "head_too_large", detail, page)

    def _refuse(self, status: int, code: str, detail: str, page: Response | None = None) -> None:
        """Answer with a problem, or its *page*, before there is a request, and close."""
        if self.transport.is_closing():
            return
        if not self.idle:  # another answer is in progress, so this one cannot be sent
            self.transport.abort()
            return
        answer = _problem(status, code, detail) if page is None else page
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        headers = [*answer.raw_headers, *self.server_state.default_headers]
        head += [name + b": " + value for name, value in headers]
        head += [b"connection: close", b"", b""]
        self.transport.write(b"\r\n".join(head) + bytes(answer.body))
        self.transport.close()

    def _close_in(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.idle and not self.transport.is_closing():
            self.transport.close()

    def _give_up_in(self, seconds: float | None) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        self._stalled = None
        if seconds is not None:
            self._stalled = self.loop.call_later(seconds, self.transport.abort)


def _problem(status: int, code: str, detail: str) -> Response:
    title = HTTPStatus(status).phrase
    problem = {"type": f"urn:normlab:problem:{code}", "title": title, "status": status}
    rest = {"detail": detail, "instance": "", "code": code, "errors": []}
    body = json.dumps({**problem, **rest})
    return Response(body, status, media_type="application/problem+json")


def _least_deserving(idle: Iterable[BoundedProtocol]) -> BoundedProtocol:
    """Choose the longest-waiting idle connection of the peer that has most of them."""
    many = Counter(connection.peer for connection in idle)
    return min(idle, key=lambda c: (-many[c.peer], c.idle_since))
