"""Store the files that a job process has written, while it continues."""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from pathlib import Path
from typing import Union

import structlog

from normlab.errors import ServiceUnavailable
from normlab.events import AnyEvent, ArtifactWritten, CheckpointWritten
from service.jobs.leases import Lease
from service.results import artifacts
from service.storage.store import Damaged, Store, StoredFile
from service.store.database import Database
from workers.reading import Harvest

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
_ATTEMPT = re.compile(r"[^/]+/attempt-(\d+)")
_Written = Union[CheckpointWritten, ArtifactWritten]
_log = structlog.get_logger(__name__)


class Uploads:
    """
    The files of an attempt: the event of a file is passed on once the file is stored.

    So every recorded file can be read on every host. If the store does not answer, it is asked
    again with doubling pauses while the job continues; the job's log says so.

    Args:
        store: if jobs write their files in place there, events are passed on at once.
    """

    def __init__(self, store: Store, database: Database, lease: Lease) -> None:
        self._store = store
        self._database = database
        self._lease = lease
        self._waiting: deque[_Written] = deque()
        self._stored: list[AnyEvent] = []
        self._unrecorded: set[str] = set()  # places that a sweep spares
        self._notes = bytearray()
        self._away = False  # whether the log has said that the store does not answer
        self.lost: str | None = None
        """Why a result of the job can never be stored; None: nothing is lost."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def pending(self) -> bool:
        """Whether a file is not stored, or the event of one is not passed on."""
        with self._changed:
            return bool(self._waiting or self._stored or self._notes)

    def pass_on(self, harvest: Harvest) -> Harvest:
        """Hold back the events of files, and return the events whose files are stored by now."""
        if self._store.in_place:
            return harvest
        written: list[_Written] = []
        others: list[AnyEvent] = []
        for event in harvest.events:
            if isinstance(event, (CheckpointWritten, ArtifactWritten)):
                written.append(event)
            else:
                others.append(event)
        with self._changed:
            self._waiting += written
            if written and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            ready, self._stored = [*others, *self._stored], []
            log, self._notes = harvest.log + self._notes, bytearray()
        return Harvest(ready, log)

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something to pass on, or a result is lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._stored or self._notes or self.lost, timeout_s)

    def close(self) -> None:
        """Store no more, and remove files that no later attempt can know of."""
        with self._changed:
            self._closing = True
            self._unrecorded.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._sweep()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                written = self._waiting[0]
            self._keep_trying(written)

    def _keep_trying(self, written: _Written) -> None:
        file = StoredFile(_place(self._lease, written), written.sha256, written.bytes)
        pause_s = FIRST_PAUSE_S
        while not self._closing:
            try:
                self._store.put(Path(written.path), file)
            except ServiceUnavailable as e:
                self._say_once(written, e)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            except (OSError, Damaged) as e:
                self._give_up(written, e)
                return
            else:
                self._done(written, file)
                return

    def _done(self, written: _Written, file: StoredFile) -> None:
        with self._changed:
            self._unrecorded.add(file.place)
            self._waiting.popleft()
            self._stored.append(written)
            if self._away:
                self._note(f"{_named(written)} is stored now")
                self._away = False
            self._changed.notify_all()
        if isinstance(written, CheckpointWritten):
            self._sweep()  # older ones may no longer be recorded

    def _give_up(self, written: _Written, error: Exception) -> None:
        with self._changed:
            self._waiting.popleft()
            if not isinstance(written, CheckpointWritten):
                self.lost = f"{_named(written)} cannot be stored: {error}"
            elif not isinstance(error, FileNotFoundError):  # the job has replaced it
                self._note(f"{_named(written)} was not stored: {error}")
            self._changed.notify_all()

    def _say_once(self, written: _Written, error: Exception) -> None:
        with self._changed:
            if not self._away:
                self._note(f"{_named(written)} cannot be stored now and is tried again: {error}")
            self._away = True

    def _note(self, text: str) -> None:
        self._notes += f"[normlab] {text}\n".encode()
        _log.warning("storage", job=str(self._lease.job), attempt=self._lease.attempt, note=text)

    def _sweep(self) -> None:
        """Remove files that this attempt or an earlier one stored and that no row names."""
        try:
            there = self._store.places(str(self._lease.job))
            recorded = artifacts.recorded_places(self._database, self._lease.job)
            with self._changed:
                self._unrecorded -= recorded
                spared = recorded | self._unrecorded
            self._store.remove(
                [p for p in there if p not in spared and _attempt(p) <= self._lease.attempt]
            )
        except ServiceUnavailable as e:
            _log.warning("old_files_not_removed", job=str(self._lease.job), reason=str(e))


def _place(lease: Lease, written: _Written) -> str:
    return artifacts.place_of(written.path, lease.job)


def _attempt(place: str) -> float:
    """Return the attempt that wrote what is at *place*; infinity if that is not known."""
    found = _ATTEMPT.match(place)
    return int(found.group(1)) if found else math.inf


def _named(written: _Written) -> str:
    if isinstance(written, CheckpointWritten):
        return f"the checkpoint of update {written.step}"
    return f"the file {written.name}"
