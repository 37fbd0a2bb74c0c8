"""One item that fails does so by itself: the others of its round go on, and so do later rounds."""

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
    """How often an item has failed in a row, and until when it is left alone."""

    times: int = 0
    until: float = 0.0


class OneByOne(Generic[T]):
    """
    Does the same for each of several items.

    An item whose work raises is left alone for 1 s, then 2, 4 and so on up to LONGEST_PAUSE_S.
    A server that does not answer is no item's fault, and ends the round.

    Args:
        name: of the items, for the log.
        work: what is done for one; returns how much that was.
        failed: told of each failure, with the item and the pause.
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
        Do the work for each of *items* whose time has come; return how much was done.

        Raises:
            ServiceUnavailable: a server that all of them need does not answer.
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
        except Exception as e:  # whatever it is, the other items have no part in it
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
