"""Access to PostgreSQL: transactions, translated errors, migrations."""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

import orjson
import psycopg
import sqlalchemy
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import DataError, InterfaceError, InternalError, OperationalError

from normlab.errors import InvalidSpec, ReadTimedOut, ServiceUnavailable
from service.store.patience import current
from service.store.worker_role import grant

_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISION = re.compile(r'^(revision|down_revision) = "(.+)"$', re.MULTILINE)
_KNOWN = text("select to_regclass('alembic_version') is not null")
_CURRENT = text("select version_num from alembic_version")
_AWAY = (
    OperationalError, InterfaceError, InternalError, sqlalchemy.exc.TimeoutError,
    psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError,
)  # fmt: skip
_TOO_LONG = "this takes longer than the database may take for it; ask for less"
CONNECT_S = 5
START_S = 60  # seconds for a part of a stack to start, while the others wait for it
_MIGRATION_LOCK = 0x6E6F726D6C6162  # "normlab"


class Database:
    """
    A pool of connections to one PostgreSQL database; safe to share among threads.

    Args:
        url: the URL of the database.
        pool_size: connections that stay open; as many again may be opened temporarily.
        name: the application name on the server; the reaper ends the connections of a lost worker.
        statement_s: seconds after which the server cancels a statement; None: no limit.
            Set once per connection, so that no statement needs another round trip.
        connect_s: seconds that a new connection may take.
    """

    def __init__(
        self,
        url: str,
        pool_size: int = 8,
        name: str = "normlab",
        statement_s: float | None = None,
        connect_s: int = CONNECT_S,
    ) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg")
        self.engine: Engine = sqlalchemy.create_engine(
            self.url,
            json_serializer=_to_json,
            json_deserializer=orjson.loads,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            pool_use_lifo=True,  # the connection that was used last has its statements prepared
            connect_args={
                "connect_timeout": connect_s,
                "application_name": name,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                **_options(self.url, statement_s),
            },
        )
        event.listen(self.engine, "checkout", _refuse_closed)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction: committed at the end, rolled back on an exception."""
        with translated_errors(), self.engine.begin() as connection, _patiently(connection):
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Yield a connection that commits each statement separately: two round trips fewer."""
        with translated_errors(), self._autocommit.connect() as connection, _patiently(connection):
            yield connection

    def close(self) -> None:
        """Close the connections of the pool."""
        self.engine.dispose()

    @property
    def conninfo(self) -> str:
        """The URL in psycopg's form."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)


def cursor_of(connection: Connection) -> psycopg.Cursor[Any]:
    """Return the driver's own cursor within *connection*, for very frequent queries."""
    driver: Any = connection.connection.driver_connection
    cursor: psycopg.Cursor[Any] = driver.cursor(binary=True)  # binary columns without conversion
    return cursor


def own_address(connection: Connection) -> str:
    """Return this host's IP address in *connection*; the loopback address for a local socket."""
    driver: Any = connection.connection.driver_connection
    with socket.socket(fileno=os.dup(driver.fileno())) as ours:
        return "127.0.0.1" if ours.family == socket.AF_UNIX else str(ours.getsockname()[0])


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate SQLAlchemy's errors to ours."""
    try:
        yield
    except (OperationalError, psycopg.errors.QueryCanceled) as e:
        if not isinstance(getattr(e, "orig", e), psycopg.errors.QueryCanceled):
            raise _away(e) from e
        patience = current()
        raise (patience.over() if patience else ReadTimedOut(_TOO_LONG)) from e
    except _AWAY as e:
        raise _away(e) from e
    except (DataError, psycopg.DataError) as e:
        reason = str(getattr(e, "orig", None) or e).strip().splitlines()[0]
        raise InvalidSpec(f"a value cannot be stored: {reason}") from e


def _away(error: Exception) -> ServiceUnavailable:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return ServiceUnavailable(
        f"the database does not answer ({reason}); try again when PostgreSQL is back"
    )


@contextmanager
def _patiently(connection: Connection) -> Iterator[None]:
    patience = current()
    if patience is None:
        yield
        return
    driver: Any = connection.connection.driver_connection
    try:
        with patience.asking(driver):
            yield
    finally:
        if patience.may_be_cancelled_late:
            connection.invalidate()
            raise patience.over()


def _options(url: sqlalchemy.URL, statement_s: float | None) -> dict[str, str]:
    if statement_s is None:
        return {}
    given = url.query.get("options", "")  # keep the operator's own options
    return {"options": f"{given} -c statement_timeout={round(1000 * statement_s)}".strip()}


def migrate(url: str, worker_role: str | None = None, connect_s: int = CONNECT_S) -> None:
    """
    Bring the tables up to date; several processes may do so at once.

    Args:
        worker_role: a database role that gets the rights of workers at the same moment.
        connect_s: seconds that the connection may take.
    """
    opened = Database(url, pool_size=1, connect_s=connect_s)
    with opened, opened.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
        _upgrade(connection)
        if worker_role is not None:
            grant(connection, worker_role)


def revisions(database: Database) -> tuple[str | None, str]:
    """Return the revision of the database, and the revision that this code needs."""
    with database.begin() as connection:
        known = connection.execute(_KNOWN).scalar()
        current = connection.execute(_CURRENT).scalar() if known else None
    return current, newest_revision()


def known_revisions() -> frozenset[str]:
    """Return all revisions of the database that this code can bring up to date."""
    return frozenset(_revisions())


@cache
def newest_revision() -> str:
    """Return the revision that this code needs."""
    before = _revisions()
    newest = set(before) - set(before.values())
    if len(newest) != 1:
        raise ServiceUnavailable("the package's migrations are damaged; install normlab again")
    return newest.pop()


@cache
def _revisions() -> dict[str, str]:
    """Return each revision and the one before it."""
    # Alembic could also find this, but importing it costs a serving process 11 MB
    before: dict[str, str] = {}
    for path in (_MIGRATIONS / "versions").glob("r*.py"):
        found = dict(_REVISION.findall(path.read_text()))
        before[found["revision"]] = found.get("down_revision", "")
    return before


def _refuse_closed(driver: psycopg.Connection[Any], *_: object) -> None:
    # So that no request fails after a server restart. An idle connection has no data to read unless
    # the server has closed it, so checking the socket detects this without a round trip.
    looking = select.poll()
    looking.register(driver.fileno(), select.POLLIN)
    if looking.poll(0):
        raise sqlalchemy.exc.DisconnectionError("the server has closed this connection")


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()  # NaN becomes null, because JSON has no NaN


def _upgrade(connection: Connection) -> None:
    # slow to import, and only migrations need it
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
