"""The HTTP server: uvicorn, which reports its address and ends streams when it stops."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Scope

from api.connections import BoundedProtocol, Bounds
from api.errors import page_for
from api.proxies import asked_below
from normlab.errors import InvalidSpec

_GRACE_S = 5
_KEEP_ALIVE_S = 15  # longer than clients keep a connection, because the client must close first
# For every response, including those of the framework and of the server itself. The pages' own
# policy is added: a browser enforces both.
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
]


class ApiServer(uvicorn.Server):
    """
    Serves *app*; calls *on_listening* with its URL once it accepts requests.

    Streams wait for events without a time limit: *on_stopping* must wake them, or a stop would
    wait for the last client to disconnect.

    Args:
        tls: the files of a certificate and its key, for HTTPS.
        root_path: where a proxy shows the service; links of pages begin with it.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        *,
        on_listening: Callable[[str], None],
        on_stopping: Callable[[], None],
        bounds: Bounds | None = None,
        tls: tuple[Path, Path] | None = None,
        root_path: str = "",
    ) -> None:
        pages = partial(_page, app, root_path)
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,  # the journal formats the log
                access_log=False,
                http=partial(BoundedProtocol, bounds or Bounds(), pages),  # type: ignore[arg-type]
                headers=_HEADERS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                ws="none",  # nothing uses WebSockets, and the library is large
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
                proxy_headers=False,  # `Forwarded` trusts only the proxies in the settings
                ssl_certfile=tls and tls[0],
                ssl_keyfile=tls and tls[1],
            )
        )
        self._scheme = "http" if tls is None else "https"
        self._on_listening = on_listening
        self._on_stopping = on_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then report the URL."""
        await super().startup(sockets)
        if self.started:
            self._on_listening(self._url())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop as usual."""
        self._on_stopping()
        await super().shutdown(sockets)

    def _url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{name}:{port}"


def _page(app: FastAPI, root: str, scope: Scope, status: int, detail: str) -> Response | None:
    return page_for(Request({**asked_below(scope, root), "app": app}), status, detail)


def tls_files(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Return both files for HTTPS, or None; raise InvalidSpec if they cannot be used."""
    if certificate is None or key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as e:
        raise InvalidSpec(
            f"NORMLAB_TLS_CERT={certificate} and NORMLAB_TLS_KEY={key} cannot be used: {e}; give "
            f"a certificate chain and its key without a passphrase, both as PEM"
        ) from e
    return certificate, key
