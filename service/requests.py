"""The request that this thread or task answers, so that what it causes can name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

_current: ContextVar[str | None] = ContextVar("request", default=None)


@contextmanager
def answering(request: str) -> Iterator[None]:
    """Let log lines in this context have *request*, and `current_request` return it."""
    token = _current.set(request)
    try:
        with structlog.contextvars.bound_contextvars(request=request):
            yield
    finally:
        _current.reset(token)


def current_request() -> str | None:
    """Return the id of the request that is being answered here; None if none is."""
    return _current.get()
