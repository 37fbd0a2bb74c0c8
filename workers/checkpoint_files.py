"""The files of a job's checkpoints: which are recorded, and which are no longer needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from normlab.events import AnyEvent, CheckpointWritten
from service.jobs.leases import Lease


class CheckpointFiles:
    """
    Deletes the files of older checkpoints, each only when newer ones are recorded.

    The next attempt knows only recorded checkpoints. If the job process deleted its own files, it
    might delete all recorded ones before the newer ones are recorded. If its worker died then, the
    job could not resume.

    Args:
        folder: the folder of the job, with a folder for each attempt.
        lease: the attempt that writes them; the checkpoints from which it may resume are recorded.
    """

    def __init__(self, folder: Path, lease: Lease) -> None:
        self._folder = folder
        self._attempt = lease.attempt
        self._keep = lease.spec.checkpoint.keep
        self._on_record = {
            Path(c.path).name: folder.parent / c.path for c in reversed(lease.resume)
        }

    def drop_unrecorded(self) -> None:
        """Before an attempt, delete the checkpoints that earlier ones could not record."""
        named = set(self._on_record.values())
        own = self._folder / f"attempt-{self._attempt}" / "checkpoints"
        for path in self._folder.glob("attempt-*/checkpoints/step-*"):
            if path not in named and path.parent != own:
                path.unlink(missing_ok=True)

    def without_surpassed(self, events: Sequence[AnyEvent]) -> list[AnyEvent]:
        """
        Return *events*, which wait to be recorded, with only the newest of their checkpoints.

        They wait as long as the database does not answer, and must not fill the disk in that time.
        """
        written = [e for e in events if isinstance(e, CheckpointWritten)]
        surpassed = written[: -self._keep]
        for event in surpassed:
            Path(event.path).unlink(missing_ok=True)
        gone = {id(event) for event in surpassed}
        return [event for event in events if id(event) not in gone]

    def record(self, events: Sequence[AnyEvent]) -> None:
        """Handle *events*, which are now recorded: delete the checkpoints that they replace."""
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
