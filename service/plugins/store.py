"""Plugins in the database: source and description by digest, kept as long as a job may use them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec, NotFound
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.sources import PluginFiles, unpacked
from normlab.records.plugins import PluginEntry, PluginRecord, PluginSource
from normlab.specs import registries
from normlab.specs.registries import Plugin
from service.store.database import Database
from service.store.events import to_json
from service.store.sight import IN_SIGHT, Sight, current

REMEMBERED = 256
FORGET_S = 1.0  # seconds before an unknown digest is looked up again
_KEEP = text("""
    insert into plugin (digest, name, owner, source, description, origin)
    values (:digest, :name, :owner, :source, cast(:description as jsonb), cast(:origin as jsonb))
    on conflict (digest) do nothing returning digest
""")
# An uploaded plugin is in sight if it was uploaded to a visible project, or is used in one
_SEEN = f"""
    from plugin p left join lateral (
        select u.owner, u.origin, u.created_at from upload u
        where u.digest = p.digest and {IN_SIGHT.format(project="u.project")}
        order by u.created_at, u.project limit 1
    ) u on true
    where (p.owner is null or p.in_force or u.owner is not null)
"""
_FACTS = f"""
    select p.digest, p.name, p.description, case when p.owner is not null then u.owner end as owner,
        coalesce(u.origin, p.origin) as origin, coalesce(u.created_at, p.created_at) as created_at
    {_SEEN}
"""
_ONE = text(f"{_FACTS} and p.digest = :digest")
_ALL = text(f"{_FACTS} order by created_at desc, digest limit :limit")
_SOURCE = text(f"select p.name, p.source {_SEEN} and p.digest = :digest")
_SHOW = text("""
    insert into upload (digest, project, owner, origin)
    select digest, :project, :owner, cast(:origin as jsonb) from plugin
    where digest = :digest and owner is not null
    on conflict do nothing returning digest
""")
_KNOWN = text("select 1 from plugin where digest = :digest")
_IN_FORCE = text("""
    update plugin set in_force = (digest = any(:digests))
    where in_force <> (digest = any(:digests))
""")
_THESE = text("select digest from plugin where in_force order by digest")


def keep(
    connection: Connection,
    source: PluginFiles,
    described: PluginDescription,
    *,
    owner: str | None,
    origin: Mapping[str, str],
) -> bool:
    """Keep *source* with its description; False, and nothing changes, if it is kept already."""
    values = {
        "digest": source.digest,
        "name": source.name,
        "owner": owner,
        "source": source.packed(),
        "description": described.model_dump_json(),
        "origin": to_json(dict(origin)),
    }
    return connection.execute(_KEEP, values).scalar() is not None


def is_kept(database: Database, digest: str) -> bool:
    """Return whether the plugin with *digest* is kept, in sight or not."""
    with database.autocommit() as connection:
        return connection.execute(_KNOWN, {"digest": digest}).first() is not None


def show(
    connection: Connection, digest: str, project: str, owner: str, origin: Mapping[str, str]
) -> bool:
    """Let those who see *project* see an uploaded plugin; return whether that is new."""
    values = {"digest": digest, "project": project, "owner": owner, "origin": to_json(dict(origin))}
    return connection.execute(_SHOW, values).scalar() is not None


def put_in_force(connection: Connection, digests: Sequence[str]) -> None:
    """Mark these plugins as usable by every job, so that workers try to load them."""
    connection.execute(_IN_FORCE, {"digests": list(digests)})


def in_force(database: Database) -> list[str]:
    """Return the digests of the plugins that every job may use."""
    with database.autocommit() as connection:
        return list(connection.execute(_THESE).scalars())


def find(database: Database, digest: str) -> PluginDescription | None:
    """Return the description of the plugin with *digest*; None if there is none in sight."""
    with database.autocommit() as connection:
        row = connection.execute(_ONE, _asked(digest)).one_or_none()
    return None if row is None else PluginDescription.model_validate(row.description)


class PluginCache:
    """Finds plugins by digest; remembers those it found, and for a short time missing ones."""

    def __init__(self, database: Database, forget_s: float = FORGET_S) -> None:
        self._database = database
        self._forget_s = forget_s
        # The answer depends on the caller
        self._found: OrderedDict[tuple[str, Sight], Plugin] = OrderedDict()
        self._missing: dict[tuple[str, Sight], float] = {}
        self._lock = Lock()

    def __call__(self, digest: str) -> Plugin | None:
        """Return the plugin with *digest*; None if there is none, or was none a moment ago."""
        asked = (digest, current())
        with self._lock:
            if asked in self._found:
                self._found.move_to_end(asked)
                return self._found[asked]
            if self._missing.get(asked, 0.0) > time.monotonic():
                return None
        described = find(self._database, digest)
        return self._remember(asked, None if described is None else described.plugin())

    def _remember(self, asked: tuple[str, Sight], plugin: Plugin | None) -> Plugin | None:
        now = time.monotonic()
        with self._lock:
            self._missing = {d: until for d, until in self._missing.items() if until > now}
            if plugin is None:
                self._missing[asked] = now + self._forget_s
            else:
                self._found[asked] = plugin
                while len(self._found) > REMEMBERED:
                    self._found.popitem(last=False)
        return plugin


def get(database: Database, digest: str) -> PluginRecord:
    """Return the record of the plugin with *digest*; raise NotFound."""
    with database.autocommit() as connection:
        row = connection.execute(_ONE, _asked(digest)).one_or_none()
    if row is None:
        raise NotFound(f"no plugin has the digest {digest!r}")
    return _record(row)


def newest(database: Database, limit: int = 1000) -> list[PluginRecord]:
    """Return the newest plugins in sight, at most *limit*."""
    values = {"limit": limit, **current().values}
    with database.autocommit() as connection:
        return [_record(row) for row in connection.execute(_ALL, values)]


def source_text(database: Database, digest: str) -> PluginSource:
    """Return the files of the plugin with *digest* as text; raise NotFound."""
    source = source_of(database, digest)
    files = {path: content.decode(errors="replace") for path, content in source.files.items()}
    return PluginSource(name=source.name, files=files)


def written(database: Database, digest: str, folder: Path) -> tuple[str, Path]:
    """
    Write the files of the plugin with *digest* below *folder*; return its name and their folder.

    Raises:
        InvalidSpec: there is no such plugin.
    """
    try:
        source = source_of(database, digest)
    except NotFound as e:
        raise InvalidSpec(f"{e}, so the job's code cannot be run") from e
    return source.name, source.written_below(folder)


def source_of(database: Database, digest: str) -> PluginFiles:
    """Return the source of the plugin with *digest*; raise NotFound."""
    with database.autocommit() as connection:
        row = connection.execute(_SOURCE, _asked(digest)).one_or_none()
    if row is None:
        raise NotFound(f"no plugin has the digest {digest!r}")
    return unpacked(row.name, bytes(row.source))


def _asked(digest: str) -> dict[str, Any]:
    return {"digest": digest, **current().values}


def _record(row: Any) -> PluginRecord:
    described = PluginDescription.model_validate(row.description)
    return PluginRecord(
        digest=row.digest,
        name=row.name,
        owner=row.owner,
        everywhere=row.digest in {plugin.digest for plugin in registries.in_force()},
        entries=[
            PluginEntry(part=e.part, name=e.name, summary=e.summary, options=e.options)
            for e in described.entries
        ],
        origin=row.origin,
        created_at=row.created_at,
    )
