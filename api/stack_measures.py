"""Prometheus metrics of the whole stack, from the database: every API process reports the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from normlab.errors import ServiceUnavailable
from service.jobs import gauges, tallies, workers
from service.store.database import Database
from service.webhooks import deliveries


class StoreCollector(Collector):
    """Queries the database at each scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Describe nothing in advance: registration must not access the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics; without the database, only that it does not answer."""
        up = GaugeMetricFamily("normlab_database_up", "1 if the database answers")
        try:
            families = [*self._jobs(), *self._workers(), *self._counts(), *self._webhooks()]
            families.append(self._size())
        except ServiceUnavailable:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield from [up, *families]

    def _jobs(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("normlab_jobs", "Jobs", labels=["state", "device"])
        for (state, device), count in gauges.by_state(self._database).items():
            jobs.add_metric([state, device], count)
        waits = _by_device("normlab_queue_oldest_seconds", "Wait of the oldest job that may start")
        left = _by_device(
            "normlab_lease_left_seconds", "Shortest remaining time of a lease; below 0: lost"
        )
        for row in gauges.by_device(self._database):
            if row.waits_s is not None:
                waits.add_metric([row.device], row.waits_s)
            if row.lease_left_s is not None:
                left.add_metric([row.device], row.lease_left_s)
        yield from (jobs, waits, left)

    def _workers(self) -> Iterator[Metric]:
        live = _by_worker("normlab_workers", "Live workers")
        able = _by_worker("normlab_worker_able", "1 if a live worker takes jobs")
        busy = _by_worker("normlab_worker_slots_busy", "Slots with a job")
        slots = _by_worker("normlab_worker_slots", "Slots")
        for worker in workers.live(self._database):
            who = [worker.device, worker.id]
            live.add_metric(who, 1)
            able.add_metric(who, worker.able)
            busy.add_metric(who, worker.busy)
            slots.add_metric(who, worker.slots)
        yield from (live, able, busy, slots)
        silent = _by_worker("normlab_worker_silent_seconds", "Time since the last heartbeat")
        lag = _by_worker("normlab_ingest_lag_seconds", "Age of the oldest result not yet written")
        for row in gauges.by_worker(self._database):
            silent.add_metric([row.device, row.id], row.silent_s)
            lag.add_metric([row.device, row.id], row.ingest_lag_s)
        yield from (silent, lag)

    def _counts(self) -> Iterator[Metric]:
        names = ["device", "outcome", "failure_kind"]
        ended = CounterMetricFamily("normlab_attempts", "Attempts that have ended", labels=names)
        fenced = CounterMetricFamily(
            "normlab_fenced",
            "Attempts that lost their job to another",
            labels=["device"],
        )
        for tally in tallies.read_all(self._database):
            if tally.name == tallies.FENCED:
                fenced.add_metric([tally.device], tally.n)
            else:
                ended.add_metric([tally.device, tally.outcome, tally.failure_kind], tally.n)
        yield from (ended, fenced)

    def _webhooks(self) -> Iterator[Metric]:
        found = deliveries.waiting(self._database)
        waits = GaugeMetricFamily("normlab_webhooks_waiting", "Messages that are not delivered yet")
        waits.add_metric([], found.n)
        oldest = GaugeMetricFamily("normlab_webhook_oldest_seconds", "Age of the oldest of them")
        oldest.add_metric([], found.oldest_s)
        yield from (waits, oldest)

    def _size(self) -> Metric:
        size = GaugeMetricFamily("normlab_database_bytes", "Size of the database")
        size.add_metric([], gauges.database_bytes(self._database))
        return size


def _by_device(name: str, says: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=["device"])


def _by_worker(name: str, says: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=["device", "worker"])
