"""The operator's plugins: files, folders and installed packages that every job may use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from normlab.errors import NormlabError, ServiceUnavailable
from normlab.plugins.describing import Described, Trouble
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.origins import origin_of, packages
from normlab.plugins.sources import PluginFiles, read_source
from normlab.records.plugins import PluginTrouble
from normlab.specs import registries
from normlab.specs.dataset_contents import look_below
from service.inspector import Inspector
from service.plugins import store
from service.settings import Settings
from service.store.database import START_S, Database

log = structlog.get_logger(__name__)


class OperatorPlugins:
    """
    The plugins that the operator gave the stack.

    Attributes:
        good: those in force.
        troubles: those that cannot be used, and why.
    """

    def __init__(self, database: Database, settings: Settings, inspector: Inspector) -> None:
        self._database = database
        self._settings = settings
        self._inspector = inspector
        self.good: list[PluginDescription] = []
        self.troubles: list[Trouble] = []
        self._recorded = False

    def install(self) -> None:
        """
        Put the operator's plugins in force, and let jobs name others by their digest.

        A plugin that cannot be used is left out; the others are not affected.
        """
        self.good, self.troubles, self._recorded = [], [], False
        # a database that starts with the API may be slow; the API must start anyway
        with Database(self._database.conninfo, pool_size=1, connect_s=START_S) as database:
            for path, source in self._read().items():
                self._take(self._describe(database, path, source))
        for trouble in self.troubles:
            log.error("plugin_unusable", plugin=trouble.name, reason=trouble.reason)
        registries.put_in_force([one.plugin() for one in self.good])
        registries.find_with(store.PluginCache(self._database))
        look_below(self._settings.datasets)

    def record(self) -> int:
        """
        Tell the workers through the database which plugins are in force, once after `install`.
        Returns their number, or 0 if the workers were told before.

        Raises:
            ServiceUnavailable: the database does not answer; the next call tries again.
        """
        if self._recorded:
            return 0
        with self._database.begin() as connection:
            store.put_in_force(connection, [one.digest for one in self.good])
        self._recorded = True
        return len(self.good)

    def troubles_for(self, *, admin: bool) -> list[PluginTrouble]:
        """Return the plugins that cannot be used; their tracebacks are for admins."""
        return [
            PluginTrouble(name=t.name, reason=t.reason, traceback=t.traceback if admin else "")
            for t in self.troubles
        ]

    def _read(self) -> dict[Path, PluginFiles]:
        sources: dict[Path, PluginFiles] = {}
        for path in [*self._settings.plugin_paths, *packages()]:
            try:
                sources[path] = read_source(path)
            except (NormlabError, OSError) as e:
                self.troubles.append(Trouble(str(path), str(e)))
        return sources

    def _take(self, one: Described) -> None:
        trouble = one if isinstance(one, Trouble) else _clash(one, self.good)
        if trouble is not None:
            self.troubles.append(trouble)
        elif isinstance(one, PluginDescription):
            self.good.append(one)

    def _describe(self, database: Database, path: Path, source: PluginFiles) -> Described:
        """Describe *source*; if it was described before, look the description up."""
        known = store.find(database, source.digest)
        if known is not None:
            return known.model_copy(update={"name": source.name})
        try:
            found = self._inspector.describe(source)
        except ServiceUnavailable as e:  # jobs without it need not wait
            return Trouble(source.name, f"{e}; restart the API when it runs")
        if isinstance(found, PluginDescription):
            with database.begin() as connection:
                store.keep(connection, source, found, owner=None, origin=origin_of(path))
        return found


def _clash(new: PluginDescription, others: Sequence[PluginDescription]) -> Trouble | None:
    taken = {(entry.part, entry.name): other.name for other in others for entry in other.entries}
    for entry in new.entries:
        other = taken.get((entry.part, entry.name))
        if other is not None:
            reason = f"its {entry.part} {entry.name!r} is already declared by {other}; rename one"
            return Trouble(new.name, reason)
    return None
