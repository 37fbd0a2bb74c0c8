"""Prometheus metrics of this process: requests as they are answered, and background rounds."""

from __future__ import annotations

import time
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.proxies import inner_path
from api.tracing import trace_of
from service.requests import answering
from service.traces import Traces

REQUEST_ID = "normlab.request"
"""The key of the request's id in its scope."""
_log = structlog.get_logger(__name__)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Measures:
    """The registry of one application, and the counters that are updated as events happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "normlab_request_seconds",
            "Time until a response begins",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.request_failures = Counter(
            "normlab_request_failures_total",
            "Requests that ended in an unhandled error",
            ["route", "error", "moment"],
            registry=self.registry,
        )
        self.rounds = Counter(
            "normlab_round_total",
            "Rounds of the background loops",
            ["loop", "outcome"],
            registry=self.registry,
        )
        self.wrong_tokens = Counter(
            "normlab_wrong_tokens_total",
            "Requests with an unknown token",
            registry=self.registry,
        )
        self.touched = Counter(
            "normlab_round_jobs_total",
            "Jobs that the background loops sent again, took from lost workers or compacted",
            ["loop"],
            registry=self.registry,
        )
        self.failed_items = Counter(
            "normlab_item_failures_total",
            "Searches and jobs that failed in a background round",
            ["loop"],
            registry=self.registry,
        )


class RequestTimer:
    """
    Measure each request until its response begins; a stream may last for hours.

    Every response has the id of its request. An unhandled error is counted as a 500
    and logged with that id, even if it interrupts a response that has begun.
    """

    def __init__(self, app: ASGIApp, measures: Measures, traces: Traces | None = None) -> None:
        self.app = app
        self.measures = measures
        self.traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record when and how it is answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request = uuid4().hex
        scope[REQUEST_ID] = request
        answered = False
        trace = trace_of(self.traces, scope, request)

        async def timed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._observe(scope, message["status"], began)
                if trace is not None:
                    trace.answered(scope["method"], _pattern(scope), message["status"])
                MutableHeaders(scope=message)["X-Request-Id"] = request
            await send(message)

        with answering(request, None if trace is None else trace.header):
            try:
                await self.app(scope, receive, timed)
            except Exception as e:
                self._failed(scope, e, began, answered)
                if trace is not None and not answered:
                    trace.answered(scope["method"], _pattern(scope), 500)
                raise

    def _observe(self, scope: Scope, status: int, began: float) -> None:
        labels = (scope["method"], _pattern(scope), str(status))
        self.measures.requests.labels(*labels).observe(time.perf_counter() - began)

    def _failed(self, scope: Scope, error: Exception, began: float, answered: bool) -> None:
        if not answered:  # the outer layer answers with 500 after us
            self._observe(scope, 500, began)
        route = _pattern(scope)
        moment = "within its answer" if answered else "before its answer"
        self.measures.request_failures.labels(route, type(error).__name__, moment).inc()
        _log.error("request_broke", request=scope[REQUEST_ID], route=route, moment=moment,
                   method=scope["method"], error=type(error).__name__)  # fmt: skip


def _pattern(scope: Scope) -> str:
    # Not the path itself: the number of labels would grow with the jobs
    route = getattr(scope.get("route"), "path", None)
    if route is None:
        return "unknown"
    return f"/v1{route}" if inner_path(scope).startswith("/v1/") else str(route)
