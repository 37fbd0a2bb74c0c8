"""Plugins: those of the operator, and the code that people upload for their jobs."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.auth import ReaderDep, SubmitterDep
from api.bodies import JsonRoute
from api.state import StateDep
from api.targets import TargetDep
from normlab.errors import Forbidden
from normlab.records.plugins import PluginList, PluginRecord, PluginSource, PluginUpload
from service.plugins import store
from service.settings import Settings

router = APIRouter(tags=["plugins"], route_class=JsonRoute)


@router.get("/plugins")
def list_plugins(reader: ReaderDep, state: StateDep) -> PluginList:
    """List plugins, newest first; those of the operator that cannot be used have a reason."""
    troubles = state.plugins.troubles_for(admin="admin" in reader.scopes)
    return PluginList(plugins=store.newest(state.database), troubles=troubles)


@router.post("/plugins", status_code=201)
def upload_plugin(
    upload: PluginUpload,
    caller: SubmitterDep,
    state: StateDep,
    project: TargetDep,
    response: Response,
) -> PluginRecord:
    """
    Upload code; jobs that name its `digest` in `code` may use the names that it declares.

    The same content is the same plugin (200). It is visible to everybody who may read the project,
    or a project with a job that uses it. The code runs in a separate process that describes it, and
    in the processes of the jobs that name it.
    """
    check_allowed(state.settings, caller.owner)
    record, new = state.uploads.take(upload, caller.actor, project)
    response.status_code = 201 if new else 200
    return record


@router.get("/plugins/{digest}/source")
def read_plugin(digest: str, reader: ReaderDep, state: StateDep) -> PluginSource:
    """Return the files of a plugin that the caller may see."""
    return store.source_text(state.database, digest)


def check_allowed(settings: Settings, owner: str) -> None:
    """Raise Forbidden unless the operator allows *owner* to upload code."""
    if settings.lets_upload(owner):
        return
    raise Forbidden(
        f"this stack accepts no code from {owner!r}; its operator can allow it with "
        f"NORMLAB_ALLOW_CODE (names of owners, separated by commas, or *), or load the code "
        "with `normlab up --with` or NORMLAB_PLUGINS"
    )
