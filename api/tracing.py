"""The span of a request that changes something: the first one of a submitted job's trace."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import Scope

from service.traces import Context, Span, Traces

_READS = ("GET", "HEAD", "OPTIONS")


class RequestTrace:
    """
    The place of one request in its trace: the client's trace, if it sent a `traceparent`.

    Args:
        request: its id, of 32 hexadecimal digits.
    """

    def __init__(self, traces: Traces, scope: Scope, request: str) -> None:
        above = Context.read(Headers(scope=scope).get("traceparent"))
        self._traces = traces
        self._parent = None if above is None else above.span
        self._context = Context(request if above is None else above.trace, request[:16])
        self._request = request
        self._since_s = time.time()

    @property
    def header(self) -> str:
        """The `traceparent` for the spans that the request causes."""
        return self._context.header

    def answered(self, method: str, route: str, status: int) -> None:
        """Record the span."""
        self._traces.record(
            Span(
                name=f"{method} {route}",
                context=self._context,
                parent=self._parent,
                since_s=self._since_s,
                until_s=time.time(),
                attributes={
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                    "normlab.request": self._request,
                },
                problem=None if status < 500 else "unhandled error",
                serves=True,
            )
        )


def trace_of(traces: Traces | None, scope: Scope, request: str) -> RequestTrace | None:
    """Return the trace of a request; None for requests that only read, and without a collector."""
    if traces is None or scope["method"] in _READS:
        return None
    return RequestTrace(traces, scope, request)
