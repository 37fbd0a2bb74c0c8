"""
The path below which a proxy shows the service, such as `/normlab` or `/user/ada/proxy/8642`.

Inside, everything is written as if the service were at the top: routes, redirects, templates. The
path is taken off requests here, if the proxy has left it on, and put before what answers name.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


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
    """Return the *scope* of a request below *root*, with its whole path, as ASGI wants it."""
    return {**scope, "root_path": root, "path": root + _taken_off(scope["path"], root)}


def root_of(scope: Scope) -> str:
    """Return the path below which the request of *scope* asked for the service; often empty."""
    # a mounted application has a longer path of its own
    return str(scope.get("app_root_path", scope.get("root_path", "")))


def inner_path(scope: Scope) -> str:
    """Return the path that was asked for, as the routes know it."""
    return _taken_off(scope["path"], root_of(scope))


def _taken_off(path: str, root: str) -> str:
    below = path == root or path.startswith(f"{root}/")
    return (path[len(root) :] or "/") if root and below else path
