"""Exit with 0 if the database has a recent heartbeat of this container's worker."""

from __future__ import annotations

import socket
import sys

from service.jobs.workers import live
from service.settings import Settings
from service.store.database import Database


def main() -> int:
    """Look for a live worker on this host."""
    database = Database(str(Settings.from_env().database_url), pool_size=1)
    hosts = {worker.hostname for worker in live(database)}
    if socket.gethostname() in hosts:
        return 0
    print(f"no live worker on {socket.gethostname()}; hosts with live workers: {sorted(hosts)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
