"""Wait for a wake-up, with a time limit."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress


async def wait_for_news(woken: asyncio.Event, seconds: float) -> float:
    """Wait until *woken* is set, at most *seconds*; clear it and return the remaining seconds."""
    began = time.monotonic()
    with suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), seconds)
    woken.clear()
    return seconds - (time.monotonic() - began)
