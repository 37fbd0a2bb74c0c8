"""Finish requests about large studies, slice by slice in the background."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from service.studies.moves import cancel_slice, prioritize_slice
from service.studies.queueing import queue_slice
from service.studies.rounds import Rounds, end

_ROUND_S = 2.0


class Slices(Rounds):
    """
    Queues, cancels and moves the cells that the requests themselves did not process.

    Each slice is a transaction of its own and locks only its study and its jobs. The remaining work
    is stored in the tables, so a restart loses nothing.
    """

    name = "slices"
    condition = "(planned > 0 or cancelling or priority is not null)"

    def round(self) -> int:
        """Take slices of all studies in turn, for a while; return the number of cells."""
        until = time.monotonic() + _ROUND_S
        done = 0
        while (now := super().round()) > 0:
            done += now
            if time.monotonic() > until:
                break
        return done

    def advance(self, connection: Connection, row: Any) -> int:
        """Take one slice of the study of *row*; return the number of its cells."""
        if row.cancelling:
            return cancel_slice(connection, row.id)
        if not row.planned:
            return prioritize_slice(connection, row)
        try:
            with connection.begin_nested():
                return queue_slice(connection, row, self._place())
        except ValueError as e:
            end(connection, row.id, "failed", f"its cells cannot be queued: {e}"[:1000])
            return 0
