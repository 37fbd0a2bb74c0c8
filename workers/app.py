"""
The Celery app of a worker: `celery -A workers.app worker -Q cpu`.

A message carries no job; it only makes the worker's slots query the database. So a message
may be lost, arrive late or arrive five times. The slots are threads of the worker's process that
only wait for pipes and the database; each job has its own operating-system
process. Neither torch nor a job's code is ever imported here.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import structlog
from celery import Celery, Task, bootsteps, signals

from normlab.errors import InvalidSpec
from normlab.host.private_files import keep_private
from normlab.specs.devices import KINDS
from service import journal
from service.jobs import doorbell
from service.settings import Settings
from workers.slots import Bell
from workers.worker import Worker

# Longer than the worker's own blocking reads, short enough to notice a vanished broker.
_REDIS = {"socket_timeout": 30, "socket_keepalive": True, "health_check_interval": 10}
# A message that finds every slot busy goes to another worker, at most this many times.
_HANDED_ON = 3
NO_DATABASE = (
    "NORMLAB_DATABASE_URL names no database; set it to the stack's PostgreSQL, "
    "or run `normlab up`, which starts one with a worker"
)
_log = structlog.get_logger(__name__)


def make_app(settings: Settings) -> Celery:
    """Make the app; without a broker it polls the database."""
    url, options = doorbell.broker(settings.broker_url or "memory://")
    app = Celery("normlab", broker=url, set_as_current=False)
    app.conf.update(
        result_backend=None,
        task_ignore_result=True,
        # The lease is the guarantee, so nothing needs redelivery.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_create_missing_queues=False,
        task_queues={device: {} for device in KINDS},
        broker_connection_retry_on_startup=True,
        # Errors of a Redis with problems (its disk or memory is full, it is loading, it became a
        # replica) are treated like a missing answer: try again, while the slots poll the database.
        broker_channel_error_retry=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options=options,
        worker_prefetch_multiplier=1,
        # A short broker outage must not end a training.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # A message takes microseconds, so it is handled in the process of the slots.
        worker_pool="solo",
        worker_pool_start_method="spawn",
        worker_concurrency=settings.slots,
        worker_hijack_root_logger=False,
    )
    if "redis" in url.partition("://")[0]:
        app.conf.worker_disable_prefetch = True
        app.conf.broker_transport_options = {**options, **_REDIS}
    return app


settings = Settings.from_env()
app = make_app(settings)
bell = Bell()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def set_up_logging(**_: Any) -> None:
    """Log like the rest of the service; Celery then does not configure logging."""
    journal.configure(settings.log_level, settings.secrets)
    for chatty in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # two lines per message


@app.task(name=doorbell.TASK, bind=True)  # type: ignore[untyped-decorator]
def ring(self: Task[..., None], hops: int = 0) -> None:
    """Look for queued jobs; if all slots are busy, pass the message to another worker."""
    if bell.ring() or hops >= _HANDED_ON:
        return
    queue = self.request.delivery_info["routing_key"]
    try:
        self.apply_async(kwargs={"hops": hops + 1}, queue=queue, retry=False)
    except Exception as e:
        _log.info("ring_not_handed_on", reason=str(e))  # the relay sends the message again


class SlotsStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Start the slots with Celery's worker, and drain them when the worker stops."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._worker: Worker | None = None

    def start(self, parent: Any) -> None:
        """Start to take jobs for the device that the worker's queue names."""
        device = _device(list(parent.app.amqp.queues.consume_from))
        if settings.database_url is None:
            raise InvalidSpec(NO_DATABASE)
        keep_private()  # the job processes do this too
        slots = parent.concurrency
        self._worker = Worker(settings, settings.database_url, device, slots, bell, os.environ)
        self._worker.start()

    def stop(self, parent: Any) -> None:
        """Drain: each job writes a checkpoint and goes back to the queue."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.leave()

    def terminate(self, parent: Any) -> None:
        """Drain also on a fast shutdown; the grace period limits it."""
        self.stop(parent)


app.steps["worker"].add(SlotsStep)


def _device(queues: list[str]) -> str:
    if len(queues) != 1 or queues[0] not in KINDS:
        raise InvalidSpec(
            f"a worker serves one kind of device, so -Q takes one of {', '.join(KINDS)}; "
            f"got {', '.join(queues) or 'none'}"
        )
    return queues[0]
