"""Questions that many streams ask the database at the same time, asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

Answer = TypeVar("Answer")


class SharedLooks:
    """
    Gives one answer to all who ask before it is looked for.

    News wake all streams at once, and most of them want to know the same. Who asks while an answer
    is looked for already does not get that one, as it may be older than the news.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Future[Any]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Answer]) -> Answer:
        """
        Return the answer to *question*, which is asked in a thread.

        Args:
            key: the same for questions with the same answer, whoever asks.
        """
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.ensure_future(
                run_in_threadpool(self._begin, key, question)
            )
            answer.add_done_callback(_retrieve)
        # one stream that ends does not take the answer from the others
        found: Answer = await asyncio.shield(answer)
        return found

    def _begin(self, key: Hashable, question: Callable[[], Answer]) -> Answer:
        self._waiting.pop(key, None)
        return question()


def _retrieve(answer: asyncio.Future[Any]) -> None:
    """Take note of an error, even if all who asked are gone."""
    if not answer.cancelled():
        answer.exception()
