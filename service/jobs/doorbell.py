"""A ring wakes a worker of a kind of device; it carries no job, so it may fail or be lost."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol
from uuid import uuid4

import kombu
import structlog

TASK = "jobs.ring"
# A broker that failed is left alone for so long, lest each submission wait for it.
_DEAF_S = 1.0
_TIMEOUT_S = 2.0
_AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
_log = structlog.get_logger(__name__)


class Doorbell(Protocol):
    """What the service needs of a broker."""

    def ring(self, device: str) -> None:
        """Wake a worker for *device*; never raise, never wait long."""

    def trouble(self) -> str | None:
        """Say what is wrong with the broker, or None."""


class SilentDoorbell:
    """Rings nowhere and remembers it: for tests, and for workers that only poll."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, device: str) -> None:
        """Remember the ring."""
        self.rung.append(device)

    def trouble(self) -> str | None:
        """Nothing can be wrong with no broker."""
        return None


class CeleryDoorbell:
    """Sends the task `jobs.ring` to the queue named like the device, without importing Celery."""

    def __init__(self, broker_url: str) -> None:
        self._url, self._options = broker(broker_url)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._deaf_until = 0.0

    def ring(self, device: str) -> None:
        """Send one message; what goes wrong is logged, for the relay rings again."""
        if time.monotonic() < self._deaf_until:
            return
        try:
            with self._lock:
                self._publish(device)
        except Exception as e:  # each broker fails in ways of its own, and none of them matters
            self._deaf_until = time.monotonic() + _DEAF_S
            self._drop()
            _log.warning("doorbell_failed", device=device, reason=str(e))

    def trouble(self) -> str | None:
        """Try to reach the broker, and say what went wrong."""
        try:
            with self._connect() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=_TIMEOUT_S)
        except Exception as e:  # whatever it is, it is what is wrong
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
            # Celery's message protocol 2: arguments, keyword arguments, what to call afterwards
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
    """Make the doorbell of *broker_url*; without one, workers find work by polling."""
    return SilentDoorbell() if broker_url is None else CeleryDoorbell(broker_url)


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """Say *url* as kombu takes it: a URL, and the transport's options."""
    scheme, _, rest = url.partition("://")
    if scheme == "filesystem":
        folders = {"data_folder_in": rest, "data_folder_out": rest, "control_folder": rest}
        return "filesystem://", {**folders, "polling_interval": 0.1}
    if scheme in ("redis", "rediss", "redis+socket", "sentinel"):
        timeouts = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
        return url, {**timeouts, "visibility_timeout": 86_400}
    return url, {}
