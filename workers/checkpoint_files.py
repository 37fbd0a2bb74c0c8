"""The files of a job's checkpoints: which are recorded, and which are no longer needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from normlab.events import AnyEvent, CheckpointWritten
from service.jobs.leases import Lease


class CheckpointFiles:
    """
    Deletes the files of older checkpoints, each only when newer ones are recorded.

    The next attempt knows no others. A job process that deleted its own would be ahead of the
    record, and if its worker died then, no file on record would be left to resume from.

    Args:
        folder: of the job, with a folder for each attempt.
        lease: whose checkpoints they are; those that it may resume from are on record.
    """

    def __init__(self, folder: Path, lease: Lease) -> None:
        self._folder = folder
        self._attempt = lease.attempt
        self._keep = lease.spec.checkpoint.keep
        self._on_record = {
            Path(c.path).name: folder.parent / c.path for c in reversed(lease.resume)
        }

    def drop_unrecorded(self) -> None:
        """Delete what earlier attempts wrote and could not record, before an attempt begins."""
        named = set(self._on_record.values())
        own = self._folder / f"attempt-{self._attempt}" / "checkpoints"
        for path in self._folder.glob("attempt-*/checkpoints/step-*"):
            if path not in named and path.parent != own:
                path.unlink(missing_ok=True)

    def without_surpassed(self, events: Sequence[AnyEvent]) -> list[AnyEvent]:
        """
        Return *events*, which wait to be recorded, with the newest of their checkpoints alone.

        They may wait for as long as the database is away, and must not fill the disk meanwhile.
        """
        written = [e for e in events if isinstance(e, CheckpointWritten)]
        surpassed = written[: -self._keep]
        for event in surpassed:
            Path(event.path).unlink(missing_ok=True)
        gone = {id(event) for event in surpassed}
        return [event for event in events if id(event) not in gone]

    def record(self, events: Sequence[AnyEvent]) -> None:
        """Note that *events* are recorded now, and delete the checkpoints that they replace."""
        for event in events:
            if isinstance(event, CheckpointWritten):
                self._add(Path(event.path))
        while len(self._on_record) > self._keep:
            self._on_record.pop(next(iter(self._on_record))).unlink(missing_ok=True)

    def _add(self, path: Path) -> None:
        before = self._on_record.pop(path.name, path)  # an attempt may write a step again
        if before != path:
            before.unlink(missing_ok=True)
        self._on_record[path.name] = path
