"""Streams are woken by each of the news, whatever else happens at that moment."""

from __future__ import annotations

import asyncio
import time

from api.wakeups import Wakeups, wait_for_news
from tests.coroutines import result_of


def test_news_at_the_moment_when_the_time_is_up_are_not_lost() -> None:
    async def wait() -> bool:
        woken = asyncio.Event()
        waiting = asyncio.create_task(wait_for_news(woken, 0.01))
        await asyncio.sleep(0)  # it waits now
        asyncio.get_running_loop().call_later(0.011, woken.set)
        time.sleep(0.05)  # a busy loop: both are due when it comes back
        return await waiting

    assert result_of(wait()) is True


def test_without_news_the_wait_ends_and_the_next_one_begins_anew() -> None:
    async def wait() -> list[bool]:
        woken = asyncio.Event()
        nothing = await wait_for_news(woken, 0.001)
        woken.set()
        return [nothing, await wait_for_news(woken, 60), await wait_for_news(woken, 0.001)]

    assert result_of(wait()) == [False, True, False]


def test_all_who_watch_a_job_count_the_same_wake_ups() -> None:
    async def watch() -> None:
        wakeups = Wakeups()
        with wakeups.watch("a") as early, wakeups.watch(None) as everything:
            wakeups.wake("a")
            wakeups.wake("b", event=False)
            with wakeups.watch("a") as late:
                assert early.wakes == late.wakes == 1
                assert everything.wakes == 2
                wakeups.wake_all()
                assert (early.wakes, late.wakes, everything.wakes) == (2, 2, 3)
                assert late.news.is_set()
            assert wakeups.streams == 2
        assert wakeups.streams == 0

    result_of(watch())
