"""What proxies say about the client that they speak for; only trusted ones are believed."""

from __future__ import annotations

from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_SAID = b"x-forwarded-host"


class Forwarded(ProxyHeadersMiddleware):
    """
    Take the client's address, scheme and Host from trusted proxies' X-Forwarded-* headers.

    Anybody else could forge them: another address escapes the delays after wrong tokens, and
    another Host passes for ours.

    Args:
        trusted_hosts: addresses and networks with commas; `*`: every proxy; empty: none.
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
    host = said[0].split(b",")[0].strip()  # each further proxy appends its own
    return [(name, host if name == b"host" else value) for name, value in headers]
