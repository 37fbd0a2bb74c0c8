"""Every event wakes the streams, whatever else happens at that moment."""

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
        time.sleep(0.05)  # a busy loop: both are due when it continues
        return await waiting

    assert result_of(wait()) is True


def test_without_news_the_wait_ends_and_the_next_one_begins_anew() -> None:
    async def wait() -> list[bool]:
        woken = asyncio.Event()
        nothing = await wait_for_news(woken, 0.001)
        woken.set()
        return [nothing, await wait_for_news(woken, 60), await wait_for_news(woken, 0.001)]

    assert result_of(wait()) == [False, True, False]


def test_all_who_watch_a_job_know_the_same_news() -> None:
    async def watch() -> None:
        wakeups = Wakeups()
        with wakeups.watch("a") as early, wakeups.watch(None) as everything:
            known = early.last, everything.last
            wakeups.wake("a")
            assert early.last > known[0]
            assert everything.last > known[1]
            known = early.last, everything.last
            wakeups.wake("b", event=False)
            assert early.last == known[0]
            assert everything.last > known[1]
            with wakeups.watch("a") as late:
                assert late.last == early.last
                wakeups.wake_all()
                assert late.last == early.last > known[0]
                assert late.news.is_set()
            assert wakeups.streams == 2
        assert wakeups.streams == 0

    result_of(watch())


def test_a_new_reader_of_a_job_is_not_taken_for_an_earlier_one() -> None:
    async def watch() -> list[int]:
        wakeups, known = Wakeups(), []
        for _ in range(2):
            with wakeups.watch("a") as watch:
                known.append(watch.last)
                wakeups.wake("a")
                known.append(watch.last)
        return known

    known = result_of(watch())
    assert len(set(known)) == len(known), "an answer from before the pause would be given again"
