"""Prometheus metrics: requests as they are answered, and jobs and workers from the database."""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.root_path import inner_path
from normlab.errors import ServiceUnavailable
from service.jobs import reading, workers
from service.store.database import Database

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
            "Jobs that the background loops rang again, took from lost workers or compacted",
            ["loop"],
            registry=self.registry,
        )
        self.failed_items = Counter(
            "normlab_item_failures_total",
            "Searches and jobs that failed a background round by themselves",
            ["loop"],
            registry=self.registry,
        )


class StoreCollector(Collector):
    """Queries the database at each scrape, so that every API process reports the same values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Describe nothing in advance: registration must not access the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield jobs by state and device, and workers by device."""
        up = GaugeMetricFamily("normlab_database_up", "1 if the database answers")
        try:
            families = [self._jobs(), self._workers()]
        except ServiceUnavailable:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield from [up, *families]

    def _jobs(self) -> Metric:
        family = GaugeMetricFamily("normlab_jobs", "Jobs", labels=["state", "device"])
        for (state, device), count in reading.count_by_state(self._database).items():
            family.add_metric([state, device], count)
        return family

    def _workers(self) -> Metric:
        family = GaugeMetricFamily("normlab_workers", "Live workers", labels=["device", "worker"])
        for worker in workers.live(self._database):
            family.add_metric([worker.device, worker.id], 1)
        return family


class RequestTimer:
    """
    Measure each request until its response begins; a stream may last for hours.

    Every response has the id of its request. An unhandled error is counted as a 500
    and logged with that id, even if it interrupts a response that has begun.
    """

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app = app
        self.measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record when and how it is answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request = uuid4().hex
        scope[REQUEST_ID] = request
        answered = False

        async def timed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._observe(scope, message["status"], began)
                MutableHeaders(scope=message)["X-Request-Id"] = request
            await send(message)

        try:
            await self.app(scope, receive, timed)
        except Exception as e:
            self._failed(scope, e, began, answered)
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
