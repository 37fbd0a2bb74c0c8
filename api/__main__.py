"""`python -m api`: serve on NORMLAB_HOST and NORMLAB_PORT; print one line of JSON with the URL."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

from api import lean  # noqa: F401  # before what would load more
from api.main import create_app
from api.server import ApiServer, tls_files
from normlab.errors import NormlabError
from normlab.host.private_files import keep_private
from service.journal import configure
from service.settings import Settings
from service.traces import exported


def main() -> int:
    """Serve until a signal arrives; return the exit code."""
    keep_private()
    _allow_connections()
    try:
        settings = Settings.from_env()
        configure(settings.log_level, settings.secrets)
        tls = tls_files(settings.tls_cert, settings.tls_key)
        app = create_app(settings, traces=exported("normlab-api", os.environ))
    except NormlabError as e:
        print(f"normlab: {e}", file=sys.stderr)
        return 2
    server = ApiServer(
        app,
        settings.host,
        settings.port,
        on_listening=_say_where,
        on_stopping=app.state.normlab.wakeups.close,
        tls=tls,
        root_path=settings.root_path,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server handles signals while it runs, and then restores the earlier handlers
        signal.signal(number, lambda *_: None)
    server.run()
    return 0 if server.started else 1


def _allow_connections() -> None:
    # each connection is a file; some systems allow only 1024, less than the bound and our own files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _say_where(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
