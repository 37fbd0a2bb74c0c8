"""Store the events of job processes in the database: in batches, fenced, and each only once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from normlab.events import AnyEvent, CheckpointWritten, Failed, Finished, MeetingOpened
from service.jobs.leases import Lease
from service.results.reports import keep_all
from service.store.database import Database
from workers.checkpoint_files import CheckpointFiles
from workers.reading import Harvest

_TAIL_BYTES = 4096
_NOT_RESULTS = (MeetingOpened, Finished, Failed)


class FencedOff(Exception):
    """The lease is over: another worker may have the job, so nothing more may be written."""


@dataclass
class _Batch:
    events: list[AnyEvent] = field(default_factory=list)
    log: bytearray = field(default_factory=bytearray)

    def __bool__(self) -> bool:
        return bool(self.events or self.log)


class Ledger:
    """
    Keep an attempt's events until the database has them.

    A batch never changes after its first try. After a commit with a lost answer, it is written
    again unchanged, and the store recognises what it already has.

    Args:
        checkpoints: the files that are deleted once newer ones are on record.
        hear: called with new events.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        checkpoints: CheckpointFiles,
        hear: Callable[[Sequence[AnyEvent]], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._lease = lease
        self._checkpoints = checkpoints
        self._hear = hear
        self._sealed = _Batch()
        self._open = _Batch()
        self._since: float | None = None  # when the oldest pending data came
        self._log_bytes = 0  # bytes of the attempt's log that are in the database
        self.log_tail = b""

    @property
    def pending(self) -> bool:
        """Whether some events are not in the database yet."""
        return bool(self._sealed or self._open)

    @property
    def waits_s(self) -> float:
        """The time for which the oldest pending data has waited; 0 if there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def take(self, harvest: Harvest) -> None:
        """Take new events; the ledger does not handle the attempt's meeting and its end."""
        self._hear(harvest.events)
        results = [e for e in harvest.events if not isinstance(e, _NOT_RESULTS)]
        self._open.events += results
        if any(isinstance(e, CheckpointWritten) for e in results):
            self._open.events = self._checkpoints.without_surpassed(self._open.events)
        self._open.log += harvest.log
        if self.pending and self._since is None:
            self._since = time.monotonic()
        self.log_tail = (self.log_tail + harvest.log)[-_TAIL_BYTES:]

    def flush(self) -> None:
        """
        Write all pending events.

        Raises:
            FencedOff: if the lease is over; then nothing was written.
            ServiceUnavailable: if the database is unavailable; pending events are kept.
        """
        while self.pending:
            if not self._sealed:
                self._sealed, self._open = self._open, _Batch()
            self._write(self._sealed)
            self._checkpoints.record(self._sealed.events)
            self._log_bytes += len(self._sealed.log)
            self._sealed = _Batch()
        self._since = None

    def _write(self, batch: _Batch) -> None:
        log = bytes(batch.log)
        if not keep_all(self._database, self._lease, batch.events, log, self._log_bytes):
            raise FencedOff(f"attempt {self._lease.attempt} is over")


class Lags:
    """The ledgers of the attempts that a worker runs now; for all of its threads."""

    def __init__(self) -> None:
        self._ledgers: list[Ledger] = []
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, ledger: Ledger) -> Iterator[None]:
        """Count *ledger* while the context is open."""
        with self._lock:
            self._ledgers.append(ledger)
        try:
            yield
        finally:
            with self._lock:
                self._ledgers.remove(ledger)

    @property
    def longest_s(self) -> float:
        """The time for which the oldest unwritten result has waited; 0 if there is none."""
        with self._lock:
            return max((ledger.waits_s for ledger in self._ledgers), default=0.0)
