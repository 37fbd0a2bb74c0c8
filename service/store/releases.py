"""
The release that serves a database, and which workers may take its jobs.

A worker takes jobs only if its code knows exactly this schema, and if it has the major and minor
version of the API that started last. A trigger enforces this in the transaction of each claim,
independently of the worker's code.
"""

from __future__ import annotations

from sqlalchemy import text

from normlab import __version__
from service.store.database import Database, newest_revision

_SERVE = text("""
    insert into release (version, storage) values (:version, :storage)
    on conflict (one) do update set version = excluded.version, since = excluded.since,
        storage = excluded.storage
""")
SERVES = (
    "(select version_num from alembic_version) as needed_revision,"
    " (select version from release) as api_version"
)
"""In SQL: what `served` returns, for statements that ask for more."""
_SERVED = text(f"select {SERVES}")
# Backups may have an older schema without this column, or even without this table
_KNOWN = text("select to_regclass('release') is not null")
_STORAGE = text("select coalesce((select to_jsonb(release) ->> 'storage' from release), '')")


class Announcement:
    """
    Announces, once, that an API of this version serves *database*.

    Args:
        version: the version of the API.
        storage: the bucket with the files of jobs; empty: they are in a folder.
    """

    def __init__(self, database: Database, version: str = __version__, storage: str = "") -> None:
        self._storage = storage
        self._database = database
        self._version = version
        self._done = False

    def round(self) -> int:
        """Announce it if not done yet and the schema is ours; return 1 if it was announced."""
        if self._done or served(self._database)[0] != newest_revision():
            return 0
        with self._database.begin() as connection:
            connection.execute(_SERVE, {"version": self._version, "storage": self._storage})
        self._done = True
        return 1


def served(database: Database) -> tuple[str, str | None]:
    """Return the revision of the database, and the version of the API; None: none has started."""
    with database.autocommit() as connection:
        row = connection.execute(_SERVED).one()
    return row.needed_revision, row.api_version


def storage_of(database: Database) -> str:
    """Return the bucket that the API has announced; empty: a folder, or none has started."""
    with database.autocommit() as connection:
        known = connection.execute(_KNOWN).scalar_one()
        return str(connection.execute(_STORAGE).scalar_one()) if known else ""


def storage_refusal(own: str, of_api: str) -> str | None:
    """Return why a worker that keeps files in the bucket *own* may take no jobs; None: it may."""
    if own == of_api:
        return None
    return (
        f"it keeps the files of jobs in {own or 'a folder'}, and the API in "
        f"{of_api or 'a folder'}; set NORMLAB_STORAGE to the same value, then restart the worker"
    )


def refusal(
    version: str | None, revision: str | None, serves: tuple[str, str | None]
) -> str | None:
    """
    Return why a worker may take no jobs; None: it may.

    Args:
        version: the version of the worker; None: it is too old to report it.
        revision: the revision of the schema that its code knows.
        serves: what `served` returned.
    """
    needed, api = serves
    same_release = api is None or (version is not None and _minor(version) == _minor(api))
    if revision == needed and same_release:
        return None
    own = f"it has normlab {version or 'of an earlier release'} (schema {revision or 'unknown'})"
    return (
        f"{own}, and the stack has {api or 'another one'} (schema {needed}); install the same "
        "release on its host, then restart the worker"
    )


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
