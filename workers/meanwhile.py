"""Do slow work in a thread, while the caller keeps its claim."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event as Flag
from typing import TypeVar

T = TypeVar("T")


def meanwhile(work: Callable[[Flag], T], keep: Callable[[], object], every_s: float) -> T:
    """
    Return what *work* returns; until then, call *keep* at intervals.

    If *keep* raises, the flag that *work* was given is set, and the error is raised once it ends.
    """
    stop = Flag()
    with ThreadPoolExecutor(1, thread_name_prefix="meanwhile") as pool:
        doing = pool.submit(copy_context().run, work, stop)
        try:
            while not wait([doing], every_s).done:
                keep()
        finally:
            stop.set()
    return doing.result()
