"""Delays for wrong tokens: each answer waits longer; a valid token never waits."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress

import structlog
from prometheus_client import Counter as Measure
from starlette.concurrency import run_in_threadpool

from normlab.errors import QuotaExceeded, ServiceUnavailable

_FREE = 5  # wrong tokens that are answered immediately, because people mistype
_FIRST_S = 0.1  # the first delay; each further one doubles
_LONGEST_S = 1.0
_FORGOTTEN_S = 60.0
_MOST_HELD = 32  # delayed answers of one client at the same time
_MOST_CLIENTS = 10_000

log = structlog.get_logger(__name__)


class Strangers:
    """
    Counts the wrong tokens of each client, and delays their answers.

    A token is looked up before anything waits, and a valid one is never delayed: so wrong tokens
    cannot lock out other callers at the same address.

    Args:
        wrong: counts all of them.
        burst: called with a client and its number of wrong tokens, if that is 8, 16, 32 and so on.
    """

    def __init__(
        self, wrong: Measure, burst: Callable[[str, int], None] = lambda client, count: None
    ) -> None:
        self._wrong = wrong
        self._burst = burst
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._held: Counter[str] = Counter()

    async def hold_up(self, host: str) -> None:
        """
        Count a wrong token from *host*, and wait for the resulting delay.

        Raises:
            QuotaExceeded: too many answers to *host* are waiting already.
        """
        client = _network(host)
        count = self._note(client)
        self._wrong.inc()
        doubled = count > _FREE and count & (count - 1) == 0  # 8, 16, 32: the log is not flooded
        if count <= _FREE or doubled:
            log.warning("wrong token", client=client, in_a_row=count)
        if doubled:
            with suppress(ServiceUnavailable):  # already logged
                await run_in_threadpool(self._burst, client, count)
        if count > _FREE:
            await self._wait(client, min(_LONGEST_S, _FIRST_S * 2.0 ** min(count - _FREE - 1, 9)))

    async def _wait(self, client: str, seconds: float) -> None:
        if self._held[client] >= _MOST_HELD:
            raise QuotaExceeded(
                f"{client} has sent too many wrong tokens; send the right one, "
                "or wait a minute before the next try"
            )
        self._held[client] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._held[client] -= 1
            self._held += Counter()  # keeps only counts above 0

    def _note(self, client: str) -> int:
        now = time.monotonic()
        count, last = self._seen.pop(client, (0, now))
        count = 1 if now - last > _FORGOTTEN_S else count + 1
        self._seen[client] = (count, now)
        if len(self._seen) > _MOST_CLIENTS:
            self._seen.popitem(last=False)
        return count


def _network(host: str) -> str:
    # The owner of an IPv6 address has its whole /64
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False))
