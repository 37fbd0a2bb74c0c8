"""Database queries that many streams need at the same time, made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

Answer = TypeVar("Answer")

KEEP_S = 5.0
"""For how many seconds streams that have not been woken since get the same answer again."""


class SharedLooks:
    """
    Gives one answer to all streams that ask the same question after the same event.

    An event wakes all streams at once, and most of them ask the same question, but not all of them
    ask before the answer is there. So the key of a question contains the number of the event that
    woke the stream: an answer from after that event is as new as one that is read now.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._answers: dict[Hashable, asyncio.Future[Any]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Answer]) -> Answer:
        """
        Return the answer to *question*, which is asked in a thread.

        Args:
            key: the same for questions with the same answer; it must change with every event
                that may change the answer.
        """
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = asyncio.ensure_future(run_in_threadpool(question))
            answer.add_done_callback(lambda _: self._keep(key, answer))
        # if one stream ends, the others must still get the answer
        found: Answer = await asyncio.shield(answer)
        return found

    def _keep(self, key: Hashable, answer: asyncio.Future[Any]) -> None:
        """Keep an answer for a while; after an error, the question is asked again."""
        if answer.cancelled() or answer.exception() is not None:
            del self._answers[key]
        else:
            asyncio.get_running_loop().call_later(self._keep_s, self._answers.pop, key)
