"""One connection listens for events of jobs, and wakes the streams that wait for them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import psycopg
import structlog
from psycopg import AsyncConnection, sql

from service.store.events import CHANNEL, heard

_RECONNECT_S = 1.0

log = structlog.get_logger(__name__)


class Watched:
    """A job with its watchers, and the number of the last wake-up that they got."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.watches: set[Watch] = set()
        self._numbers = numbers
        self.last = next(numbers)

    def wake(self, event: bool) -> None:
        """Signal to all watchers that there may be something new."""
        self.last = next(self._numbers)
        for watch in self.watches:
            watch.wake(event)


@dataclass(frozen=True, eq=False)
class Watch:
    """What a stream waits for: *news* of any kind, or an *event*, which is sent immediately."""

    of: Watched
    news: asyncio.Event = field(default_factory=asyncio.Event)
    event: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> int:
        """The number of the last wake-up, the same for all who watch the same job now."""
        return self.of.last

    def wake(self, event: bool) -> None:
        """Signal that there may be something new."""
        self.news.set()
        if event:
            self.event.set()

    def clear(self) -> None:
        """Reset the signal; the caller queries the database next."""
        self.news.clear()
        self.event.clear()


class Wakeups:
    """
    Wakes streams by the job that they watch; a stream of all jobs watches None.

    A wake-up carries no data: the stream queries the database itself, so a lost or repeated
    wake-up costs at most one query.
    """

    def __init__(self) -> None:
        # all jobs share one sequence of numbers, because a new watcher does not know earlier ones
        numbers = count()
        self._waiting: dict[str | None, Watched] = defaultdict(lambda: Watched(numbers))
        self.connected = False
        self.closing = False

    @contextmanager
    def watch(self, job: str | None) -> Iterator[Watch]:
        """Yield an object that is woken whenever *job* may have changed."""
        watched = self._waiting[job]
        watch = Watch(watched)
        watched.watches.add(watch)
        try:
            yield watch
        finally:
            watched.watches.discard(watch)
            if not watched.watches:
                del self._waiting[job]

    def wake(self, job: str, event: bool = True) -> None:
        """Wake the streams of *job*, and those of all jobs."""
        for key in (job, None):
            if key in self._waiting:
                self._waiting[key].wake(event)

    def wake_all(self) -> None:
        """Wake every stream: something may have been missed."""
        for watched in self._waiting.values():
            watched.wake(event=True)

    def close(self) -> None:
        """End every stream."""
        self.closing = True
        self.wake_all()

    @property
    def streams(self) -> int:
        """The number of waiting streams."""
        return sum(len(watched.watches) for watched in self._waiting.values())

    @asynccontextmanager
    async def listening(self, conninfo: str) -> AsyncIterator[None]:
        """Listen in the background; reconnect after a lost connection."""
        task = asyncio.create_task(self._listen_for_ever(conninfo))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen_for_ever(self, conninfo: str) -> None:
        while True:
            try:
                await self._listen(conninfo)
            except psycopg.Error as e:
                log.warning("no wake-ups from the database for now", error=str(e).strip())
            except Exception:  # one listener serves all streams: an error must not end it
                log.exception("the listener failed")
            self.connected = False
            await asyncio.sleep(_RECONNECT_S)

    async def _listen(self, conninfo: str) -> None:
        connection = await AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=5, application_name="normlab wakeups"
        )
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            self.connected = True
            self.wake_all()
            async for notify in connection.notifies():
                self.wake(*heard(notify.payload))


async def wait_for_news(woken: asyncio.Event, seconds: float) -> bool:
    """Wait until *woken* is set, at most *seconds*; clear it and return whether it was set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # unlike `wait_for`, it needs no task
            await woken.wait()
    # check the signal, not the time: it may be set just when the time is up, and is sent only once
    was_set = woken.is_set()
    woken.clear()
    return was_set
