"""What many streams ask at the same time is asked once, and no answer is older than the news."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.shared_looks import SharedLooks
from normlab.errors import ServiceUnavailable
from tests.coroutines import result_of


def test_who_asks_at_the_same_time_shares_one_answer() -> None:
    asked: list[str] = []

    def look() -> int:
        asked.append("the database")
        return len(asked)

    async def ask() -> list[int]:
        looks = SharedLooks()
        return await asyncio.gather(*(looks.ask("events", look) for _ in range(50)))

    assert result_of(ask()) == [1] * 50
    assert asked == ["the database"]


def test_who_asks_after_a_look_has_begun_gets_a_newer_answer() -> None:
    begun, go_on = threading.Event(), threading.Event()
    news = ["old"]

    def look() -> str:
        found = news[0]
        begun.set()
        assert go_on.wait(30)
        return found

    async def ask() -> tuple[str, str]:
        looks = SharedLooks()
        first = asyncio.create_task(looks.ask("events", look))
        assert await asyncio.to_thread(begun.wait, 30)
        news[0] = "new"
        second = asyncio.create_task(looks.ask("events", look))
        await asyncio.sleep(0)
        go_on.set()
        return await first, await second

    assert result_of(ask()) == ("old", "new")


def test_different_questions_have_different_answers_and_errors_reach_all_who_asked() -> None:
    def away() -> int:
        raise ServiceUnavailable("it is away")

    async def ask() -> None:
        looks = SharedLooks()
        one, *both = await asyncio.gather(
            looks.ask("a", lambda: 1), looks.ask("b", away), looks.ask("b", away),
            return_exceptions=True,
        )  # fmt: skip
        assert one == 1
        assert [str(error) for error in both] == ["it is away"] * 2

    result_of(ask())


def test_a_stream_that_ends_leaves_the_answer_to_the_others() -> None:
    async def ask() -> int:
        looks = SharedLooks()
        gone = asyncio.create_task(looks.ask("a", lambda: 7))
        other = asyncio.create_task(looks.ask("a", lambda: 7))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await other

    assert result_of(ask()) == 7
