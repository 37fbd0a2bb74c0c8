"""The whole stack on one machine: servers, API and workers, started and stopped in order."""

from __future__ import annotations

import getpass
import http.client
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from normlab.errors import ServiceUnavailable
from normlab.host.locks import held
from normlab.host.private_files import tighten, write_privately
from normlab.stacks.connection import Connection, forget_connection, pinned
from normlab.stacks.running import LOCK_NAME
from service.servers import embedded
from service.servers.children import Child, restart_ended
from service.servers.servers_file import ServerUrls, forget_servers, write_servers
from service.settings import Settings
from service.store import tokens
from service.store.database import CONNECT_S, START_S, Database, migrate

log = structlog.get_logger(__name__)

READY_WITHIN_S = 180.0  # a busy machine takes a minute; an end while starting is told at once
LOOK_S = 0.02
API_GRACE_S = 10.0
_BUSY = "a stack already runs on {}; use it, stop it, or set another NORMLAB_DATA_DIR"
OWN_TOKEN = "token"  # the file in the data directory
# PostgreSQL guards its own files, and datasets are the operator's
_NOT_OURS = frozenset({"postgres", "datasets"})


@dataclass
class Stack:
    """A running stack: its address, and its processes in the order in which they stop."""

    connection: Connection
    data_dir: Path
    servers: embedded.Servers
    children: list[Child] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The API's address."""
        return self.connection.url

    def mend(self) -> list[str]:
        """Restart the processes that have ended; report which, how often, and where the log is."""
        return [_told(child) for child in [*self.servers.mend(), *restart_ended(self.children)]]

    def kill(self) -> None:
        """Kill all processes immediately, without checkpoints."""
        for child in self.children:
            child.kill()


@contextmanager
def launch(settings: Settings, *, worker: bool = True) -> Iterator[Stack]:
    """
    Run a stack while the context is open.

    Args:
        settings: the settings of all parts; port 0 means any free port.
        worker: whether to start a worker for each device in the settings.

    Raises:
        Conflict: if a stack with this data directory is already running.
        ServiceUnavailable: if a part does not start; the message has the end of its log.
    """
    data_dir = settings.data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stopping:
        stopping.enter_context(held(data_dir / LOCK_NAME, _BUSY.format(data_dir)))
        tighten(data_dir, leave=_NOT_OURS)
        forget_connection(data_dir)  # left by a killed stack
        servers = embedded.start(settings)
        stopping.callback(servers.stop)
        token = _prepare(servers.database_url, settings)
        connection = _connection(settings, token)
        environment = _environment(settings, servers, connection)
        running = Stack(connection, data_dir, servers)
        stopping.callback(_stop, running, settings.grace_s)
        _start(running, environment, settings.devices.split(",") if worker else [])
        write_servers(data_dir, ServerUrls(servers.database_url, servers.broker_url))
        stopping.callback(forget_servers, data_dir)
        connection.write(data_dir)
        stopping.callback(forget_connection, data_dir)
        yield running


def _connection(settings: Settings, token: str) -> Connection:
    place = f"{_reachable(settings.host)}:{_free_port(settings)}"
    datasets = str(settings.datasets.absolute())
    if settings.tls_cert is None:
        return Connection(f"http://{place}", token, datasets)
    return Connection(f"https://{place}", token, datasets, str(settings.tls_cert.absolute()))


def _told(part: Child) -> str:
    again = f" ({part.starts - 1} times so far; its log: {part.log})" if part.starts > 4 else ""
    return f"the {part.name} process ended and is started again{again}"


def _prepare(database_url: str, settings: Settings) -> str:
    """Bring the database up to date; return a token that it knows."""
    ours = settings.database_url is None
    # If our own server ends, connecting fails at once; while it lives, it may only be slow
    connect_s = START_S if ours else CONNECT_S
    migrate(database_url, None if ours else settings.worker_role, connect_s)
    with Database(database_url, pool_size=1, connect_s=connect_s) as database:
        token = _token(database, settings)
        known = tokens.find(database, token)
        if known is None or known.ended is not None:
            tokens.accept(database, token, getpass.getuser(), ["admin"], note="of normlab up")
    return token


def _start(running: Stack, environment: dict[str, str], devices: list[str]) -> None:
    logs = running.data_dir / "logs"
    logs.mkdir(exist_ok=True, mode=0o700)
    # stopped in this order: a worker returns its jobs while the API still answers
    commands = {f"workers-{device}": ["workers", "--device", device] for device in devices}
    commands["api"] = ["api"]
    for name, command in commands.items():
        line = [sys.executable, "-m", *command]
        running.children.append(Child(name, line, environment, logs / f"{name}.log"))
    _wait_until_ready(running)


def _wait_until_ready(running: Stack) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not _answers(running.connection):
        for child in running.children:
            if not child.running:
                raise ServiceUnavailable(
                    f"the {child.name} process ended with {child.process.returncode} "
                    f"while starting; the end of {child.log}:\n{child.tail()}"
                )
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"{running.url} is not ready after {READY_WITHIN_S:g} s; "
                f"see {running.data_dir}/logs"
            )
        time.sleep(LOOK_S)


def _answers(own: Connection) -> bool:
    # the stack's own API, on this host: no proxy from the environment may be used
    trusted = None if own.certificate is None else pinned(Path(own.certificate))
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted))
    direct = urllib.request.build_opener(*handlers)
    try:
        with direct.open(f"{own.url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _stop(running: Stack, grace_s: float) -> None:
    for child in running.children:
        child.stop(API_GRACE_S if child.name == "api" else grace_s + 5)


def _token(database: Database, settings: Settings) -> str:
    if settings.token is not None:
        return settings.token.get_secret_value()
    path = settings.data_dir / OWN_TOKEN
    if path.exists():
        token = path.read_text().strip()
        known = tokens.find(database, token)
        if known is None or known.ended is None:
            return token
    # a token that was revoked or rotated stays so, also after a restart
    return write_own_token(settings.data_dir, tokens.new_secret())


def write_own_token(data_dir: Path, token: str) -> str:
    """Store *token*, which the commands of this user send to the stack, privately; return it."""
    write_privately(data_dir / OWN_TOKEN, token)
    return token


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _free_port(settings: Settings) -> int:
    for port in (settings.port, 0):
        with socket.socket() as probe:
            # as the API will do: a port whose last connections are still closing counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError:
                log.warning("port is taken, choosing another", port=port)
                continue
            return int(probe.getsockname()[1])
    raise ServiceUnavailable(f"no free port on {settings.host}")


def _environment(
    settings: Settings, servers: embedded.Servers, connection: Connection
) -> dict[str, str]:
    return {
        **os.environ,
        **{f"NORMLAB_{name.upper()}": str(value) for name, value in _given(settings).items()},
        "NORMLAB_DATABASE_URL": servers.database_url,
        "NORMLAB_BROKER_URL": servers.broker_url,
        "NORMLAB_PORT": connection.url.rpartition(":")[2],
        "PYTHONUNBUFFERED": "1",
    }


def _given(settings: Settings) -> dict[str, object]:
    # the children must get this process's settings, whatever their source
    values = settings.model_dump(exclude={"token", "webhook_secret"}, exclude_none=True)
    return {**values, "data_dir": settings.data_dir.absolute()}
