"""
A small reverse proxy: `python -m tests.api.reverse_proxy TARGET PREFIX strip|keep [CERT KEY]`.

It passes every request below PREFIX on to TARGET, with PREFIX or without it, as JupyterHub's and
other proxies do, and says whom it speaks for. It prints its URL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

_OF_THE_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}
_METHODS = ["GET", "POST", "PUT", "DELETE"]
TLS = (Path(__file__).parent / "tls" / "lab.pem", Path(__file__).parent / "tls" / "lab.key")


def make_proxy(target: str, prefix: str, strip: bool) -> Starlette:
    """Return the proxy's application."""
    client = httpx.AsyncClient(base_url=target, timeout=60)

    async def passed_on(request: Request) -> Response:
        path = request.url.path
        if not path.startswith(prefix):
            return PlainTextResponse(f"nothing of ours: {path}", 404)
        sent = [(k, v) for k, v in request.headers.raw if k.decode() not in _OF_THE_HOP]
        said = {
            "X-Forwarded-For": request.client.host if request.client else "",
            "X-Forwarded-Proto": request.url.scheme,
            "X-Forwarded-Host": request.headers["host"],
        }
        sent += [(k.lower().encode(), v.encode()) for k, v in said.items()]
        url = (path[len(prefix) :] if strip else path) or "/"
        asked = client.build_request(
            request.method,
            httpx.URL(url, query=request.url.query.encode()),
            headers=sent,
            content=await request.body(),
        )
        answer = await client.send(asked, stream=True)
        response = StreamingResponse(
            answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = [
            (k.lower(), v) for k, v in answer.headers.raw if k.decode().lower() not in _OF_THE_HOP
        ]
        return response

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    return Starlette(routes=[Route("/{path:path}", passed_on, methods=_METHODS)], lifespan=lifespan)


@contextmanager
def proxied(target: str, prefix: str, how: str = "strip", tls: bool = False) -> Iterator[str]:
    """Run the proxy as a process; yield the address of *target* through it."""
    files = [str(path) for path in TLS] if tls else []
    command = [sys.executable, "-m", "tests.api.reverse_proxy", target, prefix, how, *files]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip() + prefix
        finally:
            process.terminate()


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        scheme = "https" if self.config.is_ssl else "http"
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"{scheme}://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    target, prefix, how, *files = sys.argv[1:]
    config = uvicorn.Config(
        make_proxy(target, prefix, how == "strip"),
        port=0,
        log_level="error",
        ssl_certfile=files[0] if files else None,
        ssl_keyfile=files[1] if files else None,
        timeout_graceful_shutdown=1,
    )
    _Server(config).run()
