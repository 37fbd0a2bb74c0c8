"""The client for asyncio: every method of the client, awaited."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, AsyncIterator, Callable, Generator, Iterator, Optional

from normlab.client.session import Client
from normlab.errors import ServiceUnavailable
from normlab.records import ENDED, JobDetail
from normlab.stacks.connection import Connection

_LOOK_S = 0.5  # between two requests for a job that is waited for
_END = object()


class AsyncClient:
    """
    A connection to a normlab API for coroutines; use it with `async with`, or await `close`.

    It has the methods and groups of `Client`, with the same arguments, records and errors:
    `await lab.submit(spec)`, `await lab.studies.get(study)`. What `Client` yields is
    iterated (`async for line in lab.logs(job, follow=True)`) or, if awaited, a list.

    Requests run in threads, so that the event loop never waits for one. A cancelled task stops
    waiting at once; its request ends by itself, at the latest when the client closes.

    Args:
        url: such as `http://127.0.0.1:8000`.
        token: as printed by `normlab up`.
        together: the number of requests at the same time; further ones wait.
        how: as for `Client`.
    """

    def __init__(
        self, url: str, token: Optional[str] = None, *, together: int = 8, **how: Any
    ) -> None:
        self._closed = threading.Event()
        self._client = Client(url, token, **{"sleep": self._sleep, **how})
        self._threads = ThreadPoolExecutor(together, thread_name_prefix="normlab-client")

    @classmethod
    def of(cls, found: Connection, **how: Any) -> AsyncClient:
        """Return a client of the stack that *found* connects to; *how* is that of the class."""
        return cls(found.url, found.token, certificate=found.certificate, **how)

    def __getattr__(self, name: str) -> Any:
        return _Threaded(self._threads, getattr(self._client, name))

    async def wait(
        self,
        job: str,
        progress: Optional[Callable[[JobDetail], None]] = None,
        timeout_s: Optional[float] = None,
    ) -> JobDetail:
        """Return *job* once it has ended; arguments and errors are those of `Client.wait`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            record: JobDetail = await self.get(job)
            if progress:
                progress(record)
            if record.state in ENDED:
                return record
            if deadline is not None and time.monotonic() > deadline:
                raise ServiceUnavailable(f"job {job} has not ended within {timeout_s:g} s")
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Close the connections; methods that pause between two requests end with an error."""
        self._closed.set()
        self._client.close()
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise ServiceUnavailable("the client was closed while it waited for the service")


class _Threaded:
    """A method of the client, or a group of methods."""

    def __init__(self, threads: ThreadPoolExecutor, target: Any) -> None:
        self._threads = threads
        self._target = target

    def __getattr__(self, name: str) -> _Threaded:
        return _Threaded(self._threads, getattr(self._target, name))

    def __call__(self, *values: Any, **named: Any) -> _Answer:
        return _Answer(self._threads, partial(self._target, *values, **named))


class _Answer:
    """What a method will return; the request is sent when it is awaited or iterated."""

    def __init__(self, threads: ThreadPoolExecutor, ask: Callable[[], Any]) -> None:
        self._threads = threads
        self._ask = ask

    def __await__(self) -> Generator[Any, None, Any]:
        return self._do(self._whole).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        items = iter(await self._do(self._ask))
        while True:
            item = await self._do(partial(next, items, _END))
            if item is _END:
                return
            yield item

    def _whole(self) -> Any:
        found = self._ask()
        return list(found) if isinstance(found, Iterator) else found

    async def _do(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
