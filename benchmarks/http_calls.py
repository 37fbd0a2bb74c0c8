"""Timed calls over one open connection, with the processor time that the server used for them."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil

_KEPT_S = (
    2.0  # uvicorn closes a connection after five idle seconds, while the other side is measured
)


class HttpConnection:
    """One keep-alive connection to *url*; every answer is read completely and parsed."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._used_at = time.monotonic()

    def get(self, path: str, **query: Any) -> Any:
        """Send a GET."""
        return self._send("GET", f"{path}?{urlencode(query, doseq=True)}", None, {})

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        """Send a POST of JSON; bytes are sent unchanged."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._send("POST", path, content, headers or {})

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        if time.monotonic() - self._used_at > _KEPT_S:
            self._connection.close()  # the next request opens it again
        self._connection.request(method, path, body, {**self._headers, **headers})
        answer = self._connection.getresponse()
        content = answer.read()
        self._used_at = time.monotonic()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content) if content else None


@dataclass
class CallCost:
    """The cost of calls of one kind: the seconds of each, and the server's total processor time."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def median_s(self) -> float:
        """The median time of a call."""
        return statistics.median(self.seconds)

    @property
    def cpu_each_s(self) -> float:
        """Processor time per call."""
        return self.cpu_s / len(self.seconds)


def timed(
    cost: CallCost, calls: Sequence[Callable[[], Any]], roots: Sequence[psutil.Process]
) -> None:
    """Make *calls*, and add their times to *cost*."""
    before = cpu_s(roots)
    for call in calls:
        began = time.perf_counter()
        call()
        cost.seconds.append(time.perf_counter() - began)
    cost.cpu_s += cpu_s(roots) - before


def cpu_s(roots: Sequence[psutil.Process]) -> float:
    """Return the processor time of *roots* and all their descendants, including ended ones."""
    return sum(sum(process.cpu_times()[:4]) for process in tree(roots))


def tree(roots: Sequence[psutil.Process]) -> Iterator[psutil.Process]:
    """List *roots* and all their descendants."""
    for root in roots:
        yield root
        yield from root.children(recursive=True)
