"""Accept only our own host names, so that a forged Host never appears in a URL that we build."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANY_ADDRESS = ("0.0.0.0", "::")


class AllowedHosts:
    """
    Refuse a request whose Host is none of *allowed*, with 400.

    The address at which the connection arrived is always allowed: it is not a name that others
    could point at this machine.

    Args:
        allowed: names and addresses without ports; `*.example.org` means every name below it,
            `*` any name at all.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str]) -> None:
        self.app = app
        self._names = {name.lower().strip("[]") for name in allowed if not name.startswith("*")}
        self._endings = tuple(name[1:].lower() for name in allowed if name.startswith("*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it names this service."""
        if scope["type"] == "http" and not self._is_ours(scope):
            response = errors.problem(Request(scope), 400, "unknown_host", _refusal(scope))
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        given = Headers(scope=scope).getlist("host")
        if not given:
            return bool(scope["http_version"] == "1.0")  # there was no such header
        if len(given) > 1:
            return False
        name = host_name(given[0])
        arrived_at = scope["server"][0] if scope.get("server") else None
        return bool(name) and (
            name in self._names or name == arrived_at or name.endswith(self._endings)
        )


def allowed_hosts(bound: str, named: str = "") -> tuple[str, ...]:
    """Return the loopback names, the name at which the server is *bound*, and the *named* ones."""
    own = (socket.gethostname(), socket.getfqdn()) if bound in _ANY_ADDRESS else (bound,)
    return (*LOOPBACK, *own, *filter(None, named.split(",")))


def host_name(header: str) -> str:
    """Return the name or address in a Host header, without its port; empty if it has none."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    name, _, port = header.partition(":")
    return name.rstrip(".").lower() if not port or port.isdigit() else ""


def _refusal(scope: Scope) -> str:
    given = Headers(scope=scope).getlist("host")
    if not given:
        return "the request has no header Host; send one with this service's name"
    return (
        f"Host {' and '.join(repr(host[:100]) for host in given[:2])} is not a name of this "
        "service; use one of its names, or add this one to NORMLAB_ALLOWED_HOSTS"
    )
