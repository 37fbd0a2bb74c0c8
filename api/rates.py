"""Rates of requests: a bucket for each token, which is filled again all the time."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from normlab.errors import TooManyRequests

_REMEMBERED = 10_000
_BURST_S = 10.0  # a token that was idle may send as many requests at once as in this time


@dataclass
class _Bucket:
    left: float
    filled_at: float


class Rates:
    """
    Lets each token make so many requests a minute, in this process.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets: OrderedDict[object, _Bucket] = OrderedDict()

    def take(self, key: object, owner: str, per_minute: int) -> None:
        """Count a request with *key*; raise TooManyRequests if there were too many."""
        per_s = per_minute / 60
        most = max(1.0, per_s * _BURST_S)
        now = self._now()
        bucket = self._buckets.pop(key, None) or _Bucket(most, now)
        bucket.left = min(most, bucket.left + per_s * (now - bucket.filled_at))
        bucket.filled_at = now
        self._buckets[key] = bucket  # the last one used is the last one forgotten
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            raise _refusal(owner, per_minute, math.ceil((1 - bucket.left) / per_s))
        bucket.left -= 1


def _refusal(owner: str, per_minute: int, wait_s: int) -> TooManyRequests:
    return TooManyRequests(
        f"a token of {owner!r} may make {per_minute} requests a minute, and made more; wait "
        f"{wait_s} s, follow events instead of asking again, or have an admin raise it (normlab "
        "limits set)",
        wait_s,
    )
