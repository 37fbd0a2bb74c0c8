"""Code that people upload for their own jobs."""

from __future__ import annotations

from threading import BoundedSemaphore

from normlab.errors import FieldProblem, InvalidSpec, TooBusy
from normlab.plugins.describing import Described, Trouble
from normlab.plugins.sources import PluginFiles, checked
from normlab.records.plugins import PluginRecord, PluginUpload
from normlab.records.projects import DEFAULT
from service.inspector import Inspector
from service.plugins import store
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database

AT_ONCE = 2  # questions to the inspector at once; each takes seconds


class CodeUploads:
    """Takes code of people who may upload it."""

    def __init__(self, database: Database, inspector: Inspector) -> None:
        self._database = database
        self._inspector = inspector
        self._turns = BoundedSemaphore(AT_ONCE)

    def take(
        self, upload: PluginUpload, actor: Actor, project: str = DEFAULT
    ) -> tuple[PluginRecord, bool]:
        """
        Keep *upload* for *project*; return its record, and whether it is new there.

        Raises:
            InvalidSpec: it cannot be described; the message has the reason, and the problem the
                end of its traceback.
            TooBusy: too many others are being described now.
        """
        source = _source_of(upload)
        described: Described | Trouble | None = None
        if not store.is_kept(self._database, source.digest):
            described = self._describe(source)
        if isinstance(described, Trouble):
            raise _refusal(described)
        owner, origin = actor.owner, upload.origin
        with self._database.begin() as connection:
            if described is not None:
                store.keep(connection, source, described, owner=owner, origin=origin)
            new = store.show(connection, source.digest, project, owner, origin)
            if new:
                audit.write(connection, actor, "plugin.upload", source.digest, name=source.name)
        return store.get(self._database, source.digest), new

    def _describe(self, source: PluginFiles) -> Described:
        if not self._turns.acquire(blocking=False):
            raise TooBusy(f"{AT_ONCE} plugins are being described now; try again in some seconds")
        try:
            return self._inspector.describe(source)
        finally:
            self._turns.release()


def _source_of(upload: PluginUpload) -> PluginFiles:
    files = {path: content.encode() for path, content in upload.files.items()}
    try:
        return checked(PluginFiles(upload.name, files))
    except InvalidSpec as e:
        raise InvalidSpec(str(e), [FieldProblem("files", str(e))]) from e


def _refusal(trouble: Trouble) -> InvalidSpec:
    last = [line for line in trouble.traceback.splitlines() if line.strip().startswith("File")][-1:]
    rule = " ".join([trouble.reason, *(line.strip() for line in last)])
    return InvalidSpec(f"{trouble.name}: {trouble.reason}", [FieldProblem("files", rule)])
