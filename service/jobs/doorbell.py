"""
Messages that wake a worker for a kind of device.

They carry no job, and are sent again for unclaimed ones: a lost message delays a job, no more.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol
from uuid import uuid4

import kombu
import structlog
from sqlalchemy import text

from service.jobs.records import HELD
from service.store.database import Database

TASK = "jobs.ring"
# After a failure, skip the broker for this long, so that submissions do not wait for it.
_DEAF_S = 1.0
_TIMEOUT_S = 2.0
_AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
_log = structlog.get_logger(__name__)
# No more messages than idle slots, or a long queue would flood the broker. Several relays divide
# the jobs by skipping those that another relay has locked.
_DUE = text(f"""
    with idle as (
        select device, sum(slots - busy) as slots from worker
        where live_until > clock_timestamp() group by device
    ), waiting as (
        select id, device, row_number() over (
            partition by device order by priority desc, created_at) as place
        from job
        where state = 'queued' and not cancel_requested and not {HELD}
          and (not_before is null or not_before <= clock_timestamp())
          and greatest(rung_at, created_at) < clock_timestamp() - make_interval(secs => :ring_s)
    ), due as (
        select id from job where state = 'queued' and id in (
            select w.id from waiting w join idle i using (device) where w.place <= i.slots)
        for update skip locked
    )
    update job set rung_at = clock_timestamp() from due where job.id = due.id
    returning job.device
""")


class Doorbell(Protocol):
    """Sends wake-up messages to workers: the part of a broker that the service needs."""

    def ring(self, device: str) -> None:
        """Wake a worker for *device*; never raise, and never block for long."""

    def trouble(self) -> str | None:
        """Return the problem with the broker, or None."""


class SilentDoorbell:
    """Sends nothing and records the calls: for tests, and for workers that only poll."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, device: str) -> None:
        """Record the call."""
        self.rung.append(device)

    def trouble(self) -> str | None:
        """Return None: without a broker there is no problem."""
        return None


class CeleryDoorbell:
    """Sends the task `jobs.ring` to the queue named after the device, without importing Celery."""

    def __init__(self, broker_url: str) -> None:
        self._url, self._options = broker(broker_url)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._deaf_until = 0.0

    def ring(self, device: str) -> None:
        """Send one message; only log errors, because the relay sends it again."""
        if time.monotonic() < self._deaf_until:
            return
        try:
            with self._lock:
                self._publish(device)
        except Exception as e:  # each transport has its own errors, and none of them matters here
            self._deaf_until = time.monotonic() + _DEAF_S
            self._drop()
            _log.warning("doorbell_failed", device=device, reason=str(e))

    def trouble(self) -> str | None:
        """Try to reach the broker, and return the error if that fails."""
        try:
            with self._connect() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=_TIMEOUT_S)
        except Exception as e:  # any error is the problem to report
            return f"the broker does not answer: {e}"
        return None

    def close(self) -> None:
        """Close the connection to the broker."""
        with self._lock:
            self._drop()

    def _connect(self) -> Any:
        untyped: Any = kombu
        return untyped.Connection(
            self._url,
            connect_timeout=_TIMEOUT_S,
            transport_options={**self._options, **_AT_ONCE},
        )

    def _publish(self, device: str) -> None:
        if self._connection is None:
            self._connection = self._connect()
        identity = str(uuid4())
        producer = self._connection.Producer(serializer="json")
        producer.publish(
            # Celery's message protocol 2: arguments, keyword arguments, callbacks
            [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
            exchange="",
            routing_key=device,
            retry=False,
            correlation_id=identity,
            headers={
                "lang": "py",
                "task": TASK,
                "id": identity,
                "root_id": identity,
                "parent_id": None,
                "group": None,
                "retries": 0,
                "timelimit": [None, None],
                "argsrepr": "()",
                "kwargsrepr": "{}",
                "ignore_result": True,
            },
        )

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()


def make_doorbell(broker_url: str | None) -> Doorbell:
    """Make the doorbell for *broker_url*; without a URL, workers find jobs by polling."""
    return SilentDoorbell() if broker_url is None else CeleryDoorbell(broker_url)


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """Convert *url* for kombu: a URL, and the options of the transport."""
    scheme, _, rest = url.partition("://")
    if scheme == "filesystem":
        folders = {"data_folder_in": rest, "data_folder_out": rest, "control_folder": rest}
        return "filesystem://", {**folders, "polling_interval": 0.1}
    if scheme in ("redis", "rediss", "redis+socket", "sentinel"):
        timeouts = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
        return url, {**timeouts, "visibility_timeout": 86_400}
    return url, {}


class Relay:
    """Sends a message for each queued job again after *ring_s*; any number of relays may run."""

    def __init__(self, database: Database, doorbell: Doorbell, ring_s: float) -> None:
        self._database = database
        self._doorbell = doorbell
        self._ring_s = ring_s

    def round(self) -> int:
        """Send a message for each job that is due; return their number."""
        with self._database.begin() as connection:
            devices = connection.execute(_DUE, {"ring_s": self._ring_s}).scalars().all()
        for device in devices:
            self._doorbell.ring(device)
        return len(devices)
