"""Process items one by one, so that a failing item affects neither others nor later rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from normlab.errors import ServiceUnavailable

LONGEST_PAUSE_S = 300.0
T = TypeVar("T", bound=Hashable)
_log = structlog.get_logger(__name__)


@dataclass
class _Trouble:
    """How often an item has failed in a row, and until when it is skipped."""

    times: int = 0
    until: float = 0.0


class OneByOne(Generic[T]):
    """
    Does the same work for each of several items.

    If the work raises, the item is skipped for 1 s, then 2, 4 and so on up to LONGEST_PAUSE_S.
    If a server does not answer, no item is at fault, and the round ends.

    Args:
        name: the name of the items, for the log.
        work: processes one item; returns the amount of work done.
        failed: called for each failure, with the item and the pause.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[T], int],
        failed: Callable[[T, Exception, float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._work = work
        self._failed = failed
        self._clock = clock
        self._troubles: dict[T, _Trouble] = {}

    def round(self, items: Iterable[T]) -> int:
        """
        Process each of *items* that is due; return the total amount of work done.

        Raises:
            ServiceUnavailable: a server that all items need does not answer.
        """
        wanted = list(items)
        self._troubles = {i: self._troubles[i] for i in wanted if i in self._troubles}
        return sum(self._one(item) for item in wanted if self._is_due(item))

    def _is_due(self, item: T) -> bool:
        trouble = self._troubles.get(item)
        return trouble is None or self._clock() >= trouble.until

    def _one(self, item: T) -> int:
        try:
            done = self._work(item)
        except ServiceUnavailable:
            raise
        except Exception as e:  # whatever the error is, it does not concern the other items
            self._leave_alone(item, e)
            return 0
        self._troubles.pop(item, None)
        return done

    def _leave_alone(self, item: T, error: Exception) -> None:
        trouble = self._troubles.setdefault(item, _Trouble())
        pause_s = min(2.0**trouble.times, LONGEST_PAUSE_S)
        trouble.times += 1
        trouble.until = self._clock() + pause_s
        _log.exception("item_failed", items=self._name, item=str(item), again_in_s=pause_s)
        self._failed(item, error, pause_s)
