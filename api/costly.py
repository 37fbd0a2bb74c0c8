"""Costly reads: limited in total and per owner, cancelled on timeout or disconnect."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from functools import partial, wraps
from importlib import import_module
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.bodies import answer
from normlab.errors import TooBusy
from normlab.records import UnderWay
from service.store import sight
from service.store.patience import Patience

Endpoint = Callable[..., Any]
Later = partial[Response]
"""Makes a response from the result after the turn has ended, for example a file."""
Work = Callable[[], Response | Later | BaseModel]
"""A record becomes a response in the thread that made it."""

UNDER_WAY: dict[int | str, dict[str, Any]] = {
    202: {"model": UnderWay, "description": "the answer is not known yet; send the request again"}
}
"""The description of the answer of routes whose work may continue."""

_GO_ON_S = 60.0
_ASK_AGAIN_S = "5"
_CLIENT_LEFT = 499  # as in nginx; HTTP has no status for an answer that nobody waits for


class CostlyReads:
    """
    Gives turns to costly reads, so that callers with too many requests slow down only themselves.

    A turn ends when the work ends, even if the caller was answered earlier.

    Args:
        at_once: the total number of turns; each uses one database connection and one thread.
        of_owner: the number of turns that one owner may hold.
        wait_s: the longest wait for a turn.
        within_s: the longest time that the read may then take.
    """

    def __init__(
        self, at_once: int = 4, of_owner: int = 2, wait_s: float = 0.3, within_s: float = 1.0
    ) -> None:
        self.at_once = at_once
        self.of_owner = of_owner
        self.wait_s = wait_s
        self.within_s = within_s
        self._held: Counter[str] = Counter()
        self._freed = asyncio.Condition()
        self._returning: set[asyncio.Task[None]] = set()
        self._going_on: dict[Hashable, asyncio.Task[Response | Later]] = {}

    async def answer(self, request: Request, owner: str, work: Work) -> Response:
        """
        Run *work* in a thread, in its turn, and return its result.

        Raises:
            TooBusy: no turn was free in time.
            ReadTimedOut: it takes too long; its statements are cancelled.
        """
        await self._take_turn(owner)
        patience = Patience(self.within_s)
        working = self._begin(owner, patience, work)
        leaving = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait(
                {working, leaving}, timeout=self.within_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            left = leaving.done()
            leaving.cancel()
        if working.done():
            found = working.result()
            return found if isinstance(found, Response) else await run_in_threadpool(found)
        await run_in_threadpool(patience.stop)
        if left:
            return Response(status_code=_CLIENT_LEFT)  # nobody reads this response
        raise patience.over()

    async def answer_or_go_on(self, owner: str, key: Hashable, work: Work) -> Response:
        """
        Return the result of *work*. If it is slow, it continues for a later request with *key*.

        Until then the answer is 202 with `Retry-After` and an UnderWay.

        Raises:
            TooBusy: no turn in time.
        """
        key = (sight.current(), key)  # its result depends on this
        working = self._going_on.get(key)
        if working is None:
            await self._take_turn(owner)
            working = self._begin(owner, Patience(_GO_ON_S), work)
            self._going_on[key] = working
            asyncio.get_running_loop().call_later(2 * _GO_ON_S, self._forget, key, working)
        await asyncio.wait({working}, timeout=self.within_s)
        if not working.done():
            return _under_way(self.within_s)
        self._forget(key, working)
        found = working.result()
        return found if isinstance(found, Response) else await run_in_threadpool(found)

    def _begin(self, owner: str, patience: Patience, work: Work) -> asyncio.Task[Response | Later]:
        working = asyncio.create_task(run_in_threadpool(_spending, patience, work))
        returning = asyncio.create_task(self._give_back(owner, working))
        self._returning.add(returning)  # an event loop holds only weak references to its tasks
        returning.add_done_callback(self._returning.discard)
        return working

    def _forget(self, key: Hashable, working: asyncio.Task[Response | Later]) -> None:
        if self._going_on.get(key) is working:
            del self._going_on[key]

    async def _take_turn(self, owner: str) -> None:
        def free() -> bool:
            all_held = sum(self._held.values())
            return all_held < self.at_once and self._held[owner] < self.of_owner

        try:
            async with asyncio.timeout(self.wait_s), self._freed:
                await self._freed.wait_for(free)
                self._held[owner] += 1
        except TimeoutError:
            raise TooBusy(
                f"{self._held[owner]} costly reads of {owner!r} are under way, and "
                f"{sum(self._held.values())} in all; send one after another, or try again"
            ) from None

    async def _give_back(self, owner: str, working: asyncio.Future[Response | Later]) -> None:
        await asyncio.wait({working})
        async with self._freed:
            self._held[owner] -= 1
            self._held += Counter()  # removes owners without turns
            self._freed.notify_all()
        if not working.cancelled():
            working.exception()  # read the result, even if nobody waits for it any more


def costly(endpoint: Endpoint) -> Callable[..., Coroutine[Any, Any, Response]]:
    """
    Make *endpoint* take turns with the other costly reads.

    It takes `request`, `reader` and `state`, and returns a response or a record. The record is
    made in its thread.
    """

    @wraps(endpoint)
    async def in_turn(**given: Any) -> Response:
        reads: CostlyReads = given["state"].costly
        work = partial(endpoint, **given)
        return await reads.answer(given["request"], given["reader"].owner, work)

    return in_turn


def going_on(endpoint: Endpoint) -> Callable[..., Coroutine[Any, Any, Response]]:
    """
    Make *endpoint* take turns with the other tables; a slow one continues for a later request.

    It takes the same arguments as a costly one.
    """

    @wraps(endpoint)
    async def in_turn(**given: Any) -> Response:
        tables: CostlyReads = given["state"].tables
        url = given["request"].url
        work = partial(endpoint, **given)
        owner = given["reader"].owner
        return await tables.answer_or_go_on(owner, (owner, url.path, url.query), work)

    return in_turn


async def load_for_tables(request: Request) -> None:
    """Load the large libraries of a table or a decision before the reader's time begins."""
    form = request.query_params.get("format")
    for name in ("scipy.special", *(("pyarrow.parquet",) if form == "parquet" else ())):
        if name not in sys.modules:
            await run_in_threadpool(import_module, name)


def _under_way(within_s: float) -> Response:
    detail = (
        f"this takes more than {within_s:g} s and is still in progress; send the same request "
        f"again in a few seconds to get the result"
    )
    response = answer(UnderWay(detail=detail).model_dump_json(), 202)
    response.headers["Retry-After"] = _ASK_AGAIN_S
    return response


def _spending(patience: Patience, work: Work) -> Response | Later:
    with patience.spent():
        found = work()
        return answer(found.model_dump_json()) if isinstance(found, BaseModel) else found


async def _gone(request: Request) -> None:
    # The body was read before, so the next message is that the client has disconnected
    while (await request.receive())["type"] != "http.disconnect":
        pass
