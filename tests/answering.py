"""Small HTTP servers of the tests: silent, on a free port of the loopback interface."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Iterator, Type


class Answers(BaseHTTPRequestHandler):
    """The base of what answers a request."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def answering(handler: Type[Answers]) -> Iterator[int]:
    """Serve with *handler* while the context is open, and yield the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
