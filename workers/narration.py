"""The lines of a training in its job's log: its beginning, each epoch, and its end."""

from __future__ import annotations

import os
import sys
from typing import Callable, Dict, Optional

from normlab.events import CheckpointWritten, Event, Finished, Metrics, Progress, Started

_TOLD = ("train/", "val/")
_MOST = 6  # the most values in a line


class Narrator:
    """
    Describes the events of a training on standard error, and passes them on.

    Args:
        send: takes the events.
        say: takes a line; None: standard error, which the supervisor keeps as the job's log.
    """

    def __init__(
        self, send: Callable[[Event], None], say: Optional[Callable[[str], None]] = None
    ) -> None:
        self._send = send
        self._say = say or _to_the_log
        self._last: Dict[str, float] = {}
        self._epoch: Optional[int] = None

    def send(self, event: Event) -> None:
        """Describe *event*, and pass it on."""
        if isinstance(event, Metrics):
            news = {name: series.values[-1] for name, series in event.series.items()}
            self._last.update((n, v) for n, v in news.items() if n.startswith(_TOLD))
        else:
            line = self._line(event)
            if line:
                self._say(line)
        self._send(event)

    def _line(self, event: Event) -> str:
        if isinstance(event, Started):
            whence = f"continues from update {event.step}" if event.step else "begins"
            made = event.environment
            torch = made.get("versions", {}).get("torch", "of an unknown version")
            where = f"on {made.get('runtime')}, torch {torch}"
            return f"training {whence} {where}, in process {os.getpid()}"
        if isinstance(event, Progress):
            return self._of_epoch(event)
        if isinstance(event, CheckpointWritten):
            return f"checkpoint at update {event.step}"
        if isinstance(event, Finished):
            return f"finished after {event.step} updates"
        return ""

    def _of_epoch(self, progress: Progress) -> str:
        if progress.epoch == self._epoch or not progress.step:
            return ""
        self._epoch = progress.epoch
        told = [f"{name} {self._last[name]:.4g}" for name in sorted(self._last)][:_MOST]
        self._last.clear()  # an epoch that is not evaluated does not repeat an earlier one
        epoch = f"epoch {progress.epoch} of {progress.epochs}, update {progress.step}"
        return ": ".join(filter(None, (epoch, ", ".join(told))))


def _to_the_log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
