"""A query that many streams need at once runs once, and no answer is older than the event."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.shared_looks import SharedLooks
from normlab.errors import ServiceUnavailable
from tests.coroutines import result_of


def test_those_who_ask_at_the_same_time_share_one_answer() -> None:
    asked: list[str] = []

    def look() -> int:
        asked.append("the database")
        return len(asked)

    async def ask() -> list[int]:
        looks = SharedLooks()
        return await asyncio.gather(*(looks.ask("events", look) for _ in range(50)))

    assert result_of(ask()) == [1] * 50
    assert asked == ["the database"]


def test_whoever_knows_of_newer_news_gets_a_newer_answer() -> None:
    begun, go_on = threading.Event(), threading.Event()
    news = ["old"]

    def look() -> str:
        found = news[0]
        begun.set()
        assert go_on.wait(60)
        return found

    async def ask() -> tuple[str, str]:
        looks = SharedLooks()
        first = asyncio.create_task(looks.ask(("events", 1), look))
        assert await asyncio.to_thread(begun.wait, 60)
        news[0] = "new"
        second = asyncio.create_task(looks.ask(("events", 2), look))
        await asyncio.sleep(0)
        go_on.set()
        return await first, await second

    assert result_of(ask()) == ("old", "new")


def test_whoever_asks_later_with_the_same_knowledge_gets_the_same_answer() -> None:
    asked: list[str] = []

    def look() -> int:
        asked.append("the database")
        return len(asked)

    async def ask(keep_s: float) -> list[int]:
        looks = SharedLooks(keep_s)
        answers = []
        for _ in range(3):
            answers.append(await looks.ask("events", look))
            await asyncio.sleep(0.01)
        return answers

    assert result_of(ask(keep_s=600.0)) == [1, 1, 1]
    assert result_of(ask(keep_s=0.0)) == [2, 3, 4]


def test_an_error_is_not_kept() -> None:
    answers = [ServiceUnavailable("it is away"), None]

    def look() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "back"

    async def ask() -> str:
        looks = SharedLooks()
        with pytest.raises(ServiceUnavailable):
            await looks.ask("events", look)
        return await looks.ask("events", look)

    assert result_of(ask()) == "back"


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
