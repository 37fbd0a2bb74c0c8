"""Files that jobs write."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import ReaderDep
from api.downloads import Download
from api.state import StateDep
from normlab.errors import NotFound
from normlab.records import ArtifactRecord
from service.results import artifacts

router = APIRouter(tags=["artifacts"])


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
