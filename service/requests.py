"""The request that this thread or task answers, so that log lines and jobs can name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

_current: ContextVar[str | None] = ContextVar("request", default=None)
_trace: ContextVar[str | None] = ContextVar("trace", default=None)


@contextmanager
def answering(request: str, trace: str | None = None) -> Iterator[None]:
    """
    Let log lines in this context have *request*, and `current_request` return it.

    Args:
        trace: the `traceparent` for everything that it starts; None: it is not traced.
    """
    token, traced = _current.set(request), _trace.set(trace)
    try:
        with structlog.contextvars.bound_contextvars(request=request):
            yield
    finally:
        _current.reset(token)
        _trace.reset(traced)


def current_request() -> str | None:
    """Return the id of the request that is being answered here; None if none is."""
    return _current.get()


def current_trace() -> str | None:
    """Return the `traceparent` of the request that is being answered; None: it has none."""
    return _trace.get()
