"""Rates of requests: a bucket for each token, refilled continuously, and its response headers."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from normlab.errors import TooManyRequests

_REMEMBERED = 10_000
_BURST_S = 10.0  # a token that was idle may send as many requests at once as in this time


@dataclass
class _Bucket:
    left: float
    filled_at: float


@dataclass(frozen=True)
class Stand:
    """
    The requests that a token may still make.

    Args:
        most: requests that an idle token may make at once.
        left: how many of these it may still make now.
        full_s: the time until all of them are available again.
        wait_s: the time until this request may be repeated, in whole seconds; None if it is
            allowed.
    """

    owner: str
    per_minute: int
    most: float
    left: float
    full_s: float
    wait_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the header fields of draft-ietf-httpapi-ratelimit-headers-10."""
        most = int(self.most)
        window_s = math.ceil(most * 60 / self.per_minute)
        return {
            "RateLimit-Policy": f'"requests";q={most};w={window_s}',
            "RateLimit": f'"requests";r={int(self.left)};t={math.ceil(self.full_s)}',
        }

    def check(self) -> None:
        """Raise TooManyRequests if there were too many."""
        if self.wait_s is not None:
            raise TooManyRequests(
                f"a token of {self.owner!r} may make {self.per_minute} requests per minute, and "
                f"made more; wait {self.wait_s} s, follow events instead of polling, or ask an "
                f"admin to raise the limit (normlab limits set)",
                self.wait_s,
            )


class Rates:
    """
    Limits the requests that each token may make per minute, in this process.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets: OrderedDict[object, _Bucket] = OrderedDict()

    def take(self, key: object, owner: str, per_minute: int) -> Stand:
        """Count a request with *key*, unless there were too many; return what is left."""
        per_s = per_minute / 60
        most = max(1.0, per_s * _BURST_S)
        now = self._now()
        bucket = self._buckets.pop(key, None) or _Bucket(most, now)
        bucket.left = min(most, bucket.left + per_s * (now - bucket.filled_at))
        bucket.filled_at = now
        self._buckets[key] = bucket  # the last one used is the last one removed
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        wait_s = None if bucket.left >= 1 else math.ceil((1 - bucket.left) / per_s)
        if wait_s is None:
            bucket.left -= 1
        full_s = (most - bucket.left) / per_s
        return Stand(owner, per_minute, most, bucket.left, full_s, wait_s)


RATE = "normlab.rate"
"""The key of the `Stand` of a request's token in its scope, if its owner has a limit."""


class RateHeaders:
    """Adds `RateLimit` and `RateLimit-Policy` to the answers to callers whose rate is limited."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to its answer."""

        async def told(message: Message) -> None:
            stand = scope.get(RATE)
            if stand is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(stand.headers)
            await send(message)

        await self.app(scope, receive, told)
