"""Plugins of a stack: described once in a process of their own, kept by their digest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import structlog
from sqlalchemy import text

from normlab.errors import InvalidSpec, NormlabError
from normlab.plugins.describing import Trouble, describe
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.sources import Source, read_source, unpacked
from normlab.specs import registries
from normlab.specs.dataset_contents import look_below
from normlab.specs.registries import Plugin
from service.settings import Settings
from service.store.database import Database

log = structlog.get_logger(__name__)

REMEMBERED = 256
_KEEP = text(
    "insert into plugin (digest, name, owner, source, description) "
    "values (:digest, :name, :owner, :source, cast(:description as jsonb)) "
    "on conflict (digest) do nothing"
)
_DESCRIPTION = text("select name, description from plugin where digest = :digest")
_SOURCE = text("select name, source from plugin where digest = :digest")


class OperatorPlugins:
    """
    The plugins that the operator gave the stack.

    Attributes:
        good: those in force.
        troubles: those that cannot be used, and why.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._paths = settings.plugin_paths
        self._code = settings.code
        self._data_root = settings.datasets
        self._python = settings.job_python.get("cpu")
        self.good: list[PluginDescription] = []
        self.troubles: list[Trouble] = []

    def install(self) -> None:
        """
        Put the operator's plugins in force, and let jobs name others by their digest.

        A plugin that cannot be used is left out; the others are not affected.
        """
        sources, self.troubles = _read(self._paths)
        for source in sources:
            source.written_below(self._code)  # for the process that inspects models
        self.good = []
        for one in _describe(self._database, sources, self._python):
            trouble = one if isinstance(one, Trouble) else _clash(one, self.good)
            if trouble is not None:
                self.troubles.append(trouble)
            elif isinstance(one, PluginDescription):
                self.good.append(one)
        for trouble in self.troubles:
            log.error("plugin_unusable", plugin=trouble.name, reason=trouble.reason)
        registries.put_in_force([one.plugin() for one in self.good])
        registries.find_with(finder(self._database))
        look_below(self._data_root)


def _read(paths: Sequence[Path]) -> tuple[list[Source], list[Trouble]]:
    sources, troubles = [], []
    for path in paths:
        try:
            sources.append(read_source(path))
        except (NormlabError, OSError) as e:
            troubles.append(Trouble(str(path), str(e)))
    return sources, troubles


def _describe(
    database: Database, sources: Sequence[Source], python: Path | None
) -> list[PluginDescription | Trouble]:
    """Describe *sources* in their order; what was described before is only looked up."""
    found: dict[str, PluginDescription | Trouble] = {}
    new = []
    for source in sources:
        known = find(database, source.digest)
        if known is None:
            new.append(source)
        else:
            found[source.digest] = known.model_copy(update={"name": source.name})
    described = describe(new, str(python or sys.executable))
    for source, one in zip(new, described, strict=True):
        found[source.digest] = one
        if isinstance(one, PluginDescription):
            keep(database, source, one, owner=None)
    return [found[source.digest] for source in sources]


def _clash(new: PluginDescription, others: Sequence[PluginDescription]) -> Trouble | None:
    taken = {(entry.part, entry.name): other.name for other in others for entry in other.entries}
    for entry in new.entries:
        other = taken.get((entry.part, entry.name))
        if other is not None:
            reason = f"its {entry.part} {entry.name!r} is declared by {other} already; rename one"
            return Trouble(new.name, reason)
    return None


def keep(
    database: Database, source: Source, described: PluginDescription, owner: str | None
) -> None:
    """Keep *source* with its description, unless it is kept already."""
    values = {
        "digest": source.digest,
        "name": source.name,
        "owner": owner,
        "source": source.packed(),
        "description": described.model_dump_json(),
    }
    with database.begin() as connection:
        connection.execute(_KEEP, values)


def find(database: Database, digest: str) -> PluginDescription | None:
    """Return the description of the plugin with *digest*; None if there is none."""
    with database.begin() as connection:
        row = connection.execute(_DESCRIPTION, {"digest": digest}).one_or_none()
    return None if row is None else PluginDescription.model_validate(row.description)


def finder(database: Database) -> Callable[[str], Plugin | None]:
    """Return what finds plugins by digest, and remembers those that it found."""

    @lru_cache(maxsize=REMEMBERED)
    def made(digest: str) -> Plugin:
        found = find(database, digest)
        if found is None:
            raise KeyError(digest)  # so that it is looked for again
        return found.plugin()

    def look(digest: str) -> Plugin | None:
        try:
            return made(digest)
        except KeyError:
            return None

    return look


def written(database: Database, digest: str, folder: Path) -> tuple[str, Path]:
    """
    Write the files of the plugin with *digest* below *folder*; return its name and their folder.

    Raises:
        InvalidSpec: there is no such plugin.
    """
    with database.begin() as connection:
        row = connection.execute(_SOURCE, {"digest": digest}).one_or_none()
    if row is None:
        raise InvalidSpec(f"the plugin {digest} is not in the store, so its code cannot be run")
    return row.name, unpacked(row.name, bytes(row.source)).written_below(folder)
