"""A real server in a thread, and a client that speaks to it: what these tests look through."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn


class _Server(uvicorn.Server):
    """Says when it listens, so that nobody has to guess."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve *app* on a free port; yield its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5)
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.listening.wait(0.05):
                assert thread.is_alive(), "the application did not start"
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop"


@contextmanager
def client_of(app: Any, **options: Any) -> Iterator[httpx.Client]:
    """Serve *app* and yield a client of it."""
    with serve(app) as url, httpx.Client(base_url=url, timeout=30, **options) as client:
        yield client
