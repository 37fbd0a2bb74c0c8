"""Files that jobs write."""

from __future__ import annotations

import anyio
from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from api.auth import ReaderDep
from api.state import StateDep
from normlab.errors import NotFound
from normlab.records import ArtifactRecord
from service.results import artifacts

router = APIRouter(tags=["artifacts"])


class Download(FileResponse):
    """Send a file; once the reader has left, read no more of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the reader leaves."""
        async with anyio.create_task_group() as both:

            async def notice_leave() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                both.cancel_scope.cancel()

            both.start_soon(notice_leave)
            await super().__call__(scope, receive, send)
            both.cancel_scope.cancel()


@router.get("/jobs/{job}/artifacts")
def list_artifacts(job: str, reader: ReaderDep, state: StateDep) -> list[ArtifactRecord]:
    """List the files of a job: checkpoints, weights, tables."""
    return artifacts.read_all(state.database, job)


@router.get(
    "/jobs/{job}/artifacts/{name}",
    response_class=Download,
    responses={
        206: {"description": "the part that the header Range asked for"},
        416: {"description": "the file has no such part"},
    },
)
def download_artifact(job: str, name: str, reader: ReaderDep, state: StateDep) -> Download:
    """Download a file, or a part of it with the header `Range`."""
    path = artifacts.path_of(state.database, job, name)
    if not path.is_file():
        raise NotFound(f"file {name!r} of job {job} is gone from the server's disk")
    return Download(path, filename=name, media_type="application/octet-stream")
