"""Files that jobs write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from api.auth import ReaderDep
from api.state import StateDep
from normlab.errors import NotFound
from normlab.records import ArtifactRecord
from service.results import artifacts, weight_sources

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


_PARTS: dict[int | str, dict[str, Any]] = {
    206: {"description": "the part that the header Range asked for"},
    416: {"description": "the file has no such part"},
}


@router.get("/jobs/{job}/artifacts/{name}", response_class=Download, responses=_PARTS)
def download_artifact(job: str, name: str, reader: ReaderDep, state: StateDep) -> Download:
    """Download a file, or a part of it with the header `Range`."""
    return _sent(artifacts.path_of(state.database, job, name, state.settings.jobs), job, name)


@router.get("/jobs/{job}/weights", response_class=Download, responses=_PARTS)
def download_weights(job: str, reader: ReaderDep, state: StateDep) -> Download:
    """
    Download the final weights of a job, a safetensors file, or a part of it with `Range`.

    Its metadata have the job's specification (`job`), its last metrics (`metrics`) and the sizes
    that the network was built for (`sizes`). Only a job that has succeeded has final weights.
    """
    path = state.settings.jobs / weight_sources.of_job(state.database, job).place
    return _sent(path, job, path.name)


def _sent(path: Path, job: str, name: str) -> Download:
    if not path.is_file():
        raise NotFound(f"file {name!r} of job {job} is gone from the server's disk")
    return Download(path, filename=name, media_type="application/octet-stream")
