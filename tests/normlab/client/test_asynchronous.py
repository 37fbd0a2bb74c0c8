"""The client for coroutines answers like the other one, and never blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Callable, List

import httpx
import pytest

from normlab.client import AsyncClient
from normlab.errors import NotFound, ServiceUnavailable
from tests.coroutines import result_of

from .test_session import Pages, job

Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer, **how: Any) -> AsyncClient:
    return AsyncClient("http://stack", http=httpx.MockTransport(answer), **how)


def test_methods_and_groups_are_awaited_and_lists_are_iterated() -> None:
    async def use() -> List[List[str]]:
        async with client_of(Pages(total=5, size=2)) as lab:
            listed = [one.id for one in await lab.list()]
            return [listed, [one.id async for one in lab.list(limit=3)]]

    assert result_of(use()) == [[f"j{i}" for i in range(5)], ["j0", "j1", "j2"]]


def test_errors_are_those_of_the_service() -> None:
    problem = {"code": "not_found", "detail": "no such study", "status": 404}

    async def use() -> None:
        async with client_of(lambda _: httpx.Response(404, json=problem)) as lab:
            await lab.studies.get("01a1d2f0-0000-7000-8000-000000000000")

    with pytest.raises(NotFound, match="no such study"):
        result_of(use())


def test_requests_are_under_way_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=60)  # breaks unless three requests meet in it

    def meet(_: httpx.Request) -> httpx.Response:
        together.wait()
        return httpx.Response(200, json={"jobs": [], "next_cursor": None})

    async def use() -> List[Any]:
        async with client_of(meet) as lab:
            return list(await asyncio.gather(*(lab.page() for _ in range(3))))

    assert [page.jobs for page in result_of(use())] == [[], [], []]


def test_closing_ends_what_pauses_between_two_tries() -> None:
    asked = threading.Event()

    def refuse(_: httpx.Request) -> httpx.Response:
        asked.set()
        return httpx.Response(503, headers={"Retry-After": "3600"}, json={})

    async def use() -> None:
        lab = client_of(refuse)
        waiting = asyncio.ensure_future(lab.page())
        await asyncio.get_running_loop().run_in_executor(None, asked.wait)
        await lab.close()
        await waiting

    with pytest.raises(ServiceUnavailable, match="closed while it waited"):
        result_of(use())


def test_a_job_is_waited_for_and_a_limit_is_kept() -> None:
    record = {**job(1), "spec": {"normalizer": "batch"}, "attempts": []}
    states = ["queued", "running", "succeeded"]

    def answer(_: httpx.Request) -> httpx.Response:
        state = states.pop(0) if len(states) > 1 else states[0]
        return httpx.Response(200, json={**record, "state": state})

    async def use() -> List[str]:
        seen: List[str] = []
        async with client_of(answer) as lab:
            known = "01a1d2f0-0000-7000-8000-000000000000"
            with pytest.raises(ServiceUnavailable, match="has not ended within 0 s"):
                await lab.wait(known, timeout_s=0)
            ended = await lab.wait(known, lambda record: seen.append(record.state))
            return [*seen, ended.state]

    assert result_of(use()) == ["running", "succeeded", "succeeded"]
