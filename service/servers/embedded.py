"""
The servers of one machine: PostgreSQL and Redis from wheels, on private sockets, no ports.

Each server is the one in the settings, or else the wheel's. The broker has two more choices: the
`redis-server` on the PATH, or else a folder of messages.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from normlab.host.locks import held
from service.servers.broker import start_broker
from service.servers.children import Child, restart_ended
from service.servers.postgres import create_database, start_postgres
from service.servers.server_user import server_user, socket_folder
from service.settings import Settings

_BUSY = "servers run on {} already; stop that `normlab up`, or set NORMLAB_DATA_DIR"


@dataclass
class Servers:
    """The addresses of the database and the broker; servers that we started run until stop()."""

    database_url: str
    broker_url: str
    started: list[Child] = field(default_factory=list)
    _stopping: ExitStack = field(default_factory=ExitStack, repr=False)

    def mend(self) -> list[Child]:
        """Restart the servers that were started here and have ended; return them."""
        return restart_ended(self.started)

    def stop(self) -> None:
        """Stop the servers that were started here, in reverse order; stopping twice is harmless."""
        self._stopping.close()


def start(settings: Settings, *, postgres_options: Sequence[str] = ()) -> Servers:
    """
    Start the servers that *settings* do not name.

    Raises:
        Conflict: if another process runs servers on the same data directory.
        ServiceUnavailable: if a server is not installed or does not start.
    """
    data_dir = settings.data_dir.absolute()
    servers = Servers(settings.database_url or "", settings.broker_url or "")
    with ExitStack() as undo:
        if not servers.database_url or not servers.broker_url:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            undo.enter_context(held(data_dir / "servers.lock", _BUSY.format(data_dir)))
            sockets = socket_folder(data_dir, shared=server_user() is not None)
            undo.callback(shutil.rmtree, sockets, ignore_errors=True)
        if not servers.database_url:
            url, process = start_postgres(data_dir, postgres_options)
            undo.callback(process.stop)
            servers.database_url = url
            servers.started.append(process)
            create_database(url)
        if not servers.broker_url:
            servers.broker_url, redis = start_broker(data_dir)
            if redis is not None:
                undo.callback(redis.stop)
                servers.started.append(redis)
        servers._stopping = undo.pop_all()
    return servers
