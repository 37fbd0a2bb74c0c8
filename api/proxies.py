"""
Proxies: the path below which one shows the service, and what it says of the client.

The path is such as `/normlab` or `/user/ada/proxy/8642`. Inside, everything is written as if the
service were at the top: routes, redirects, templates. The path is taken off requests here, if the
proxy has left it on, and put before what answers name.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_SAID = b"x-forwarded-host"


class RootPath:
    """
    Serve *app* below *root*, whether a proxy passes that path on or removes it.

    A redirect, or the place of a new resource, is given below *root* too.

    Args:
        root: such as `/normlab`; empty: the service is at the top.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole path."""
        if scope["type"] != "http" or not self._root:
            await self.app(scope, receive, send)
            return

        async def below(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._move(MutableHeaders(scope=message))
            await send(message)

        await self.app(asked_below(scope, self._root), receive, below)

    def _move(self, headers: MutableHeaders) -> None:
        place = headers.get("location", "")
        if place.startswith("/") and not place.startswith("//"):
            headers["location"] = self._root + place


def asked_below(scope: Scope, root: str) -> Scope:
    """Return the *scope* of a request below *root*, with its whole path, as ASGI requires."""
    return {**scope, "root_path": root, "path": root + _taken_off(scope["path"], root)}


def root_of(scope: Scope) -> str:
    """Return the path below which the request of *scope* reached the service; often empty."""
    # a mounted application has a longer path of its own
    return str(scope.get("app_root_path", scope.get("root_path", "")))


def inner_path(scope: Scope) -> str:
    """Return the requested path as the routes know it."""
    return _taken_off(scope["path"], root_of(scope))


def _taken_off(path: str, root: str) -> str:
    below = path == root or path.startswith(f"{root}/")
    return (path[len(root) :] or "/") if root and below else path


class Forwarded(ProxyHeadersMiddleware):
    """
    Take the client's address, scheme and Host from trusted proxies' X-Forwarded-* headers.

    Anybody else could forge them: a forged address avoids the delays after wrong tokens, and a
    forged Host could look like ours.

    Args:
        trusted_hosts: addresses and networks, separated by commas; `*` for every proxy; empty for
            none.
    """

    def __init__(self, app: Any, trusted_hosts: str) -> None:
        super().__init__(app, trusted_hosts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on as the client sent it to the proxy."""
        client = scope.get("client")
        if scope["type"] == "http" and client and client[0] in self.trusted_hosts:
            scope = {**scope, "headers": _with_host(scope["headers"])}
        await super().__call__(scope, receive, send)


def _with_host(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    said = [value for name, value in headers if name == _SAID]
    if not said:
        return headers
    host = said[0].split(b",")[0].strip()  # each further proxy appends the Host that it got
    return [(name, host if name == b"host" else value) for name, value in headers]
