"""A real server in a thread and a client of it, for the other tests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from fastapi import FastAPI

from api.connections import Bounds
from api.server import ApiServer


@contextmanager
def serve(app: FastAPI, bounds: Bounds | None = None) -> Iterator[str]:
    """Serve *app* on a free port; yield its URL."""
    urls: queue.Queue[str | None] = queue.Queue()
    state = getattr(app.state, "normlab", None)
    stopping = state.wakeups.close if state else lambda: None
    server = ApiServer(
        app,
        "127.0.0.1",
        0,
        on_listening=urls.put,
        on_stopping=stopping,
        bounds=bounds,
        root_path=state.settings.root_path if state else "",
    )

    def run() -> None:
        server.run()
        urls.put(None)  # for those that still wait, if it did not start

    thread = threading.Thread(target=run, name="server under test", daemon=True)
    thread.start()
    try:
        url = urls.get(timeout=120)
        assert url is not None, "the application did not start"
        yield url
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def client_of(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve *app* and yield a client of it."""
    with serve(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client
