"""Files that jobs write."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from api.auth import ReaderDep
from api.downloads import Download, download
from api.state import StateDep
from normlab.records import ArtifactRecord
from service.results import artifacts, weight_sources

router = APIRouter(tags=["artifacts"])


@router.get("/jobs/{job}/artifacts")
def list_artifacts(job: str, reader: ReaderDep, state: StateDep) -> list[ArtifactRecord]:
    """List the files of a job: checkpoints, weights, tables."""
    return artifacts.read_all(state.database, job)


_PARTS: dict[int | str, dict[str, Any]] = {
    206: {"description": "the part that the header Range asked for"},
    416: {"description": "the file has no such part"},
}


@router.get("/jobs/{job}/artifacts/{name}", response_class=Download, responses=_PARTS)
def download_artifact(
    job: str, name: str, reader: ReaderDep, state: StateDep, request: Request
) -> Response:
    """Download a file, or a part of it with the header `Range`."""
    file = artifacts.stored(state.database, job, name)
    return download(state.files, file, name, job, request)


@router.get("/jobs/{job}/weights", response_class=Download, responses=_PARTS)
def download_weights(job: str, reader: ReaderDep, state: StateDep, request: Request) -> Response:
    """
    Download the final weights of a job, a safetensors file, or a part of it with `Range`.

    Its metadata contain the job's specification (`job`), its last metrics (`metrics`) and the sizes
    that the network was built for (`sizes`). Only a job that has succeeded has final weights.
    """
    file = weight_sources.of_job(state.database, job)
    return download(state.files, file, weight_sources.NAME, job, request)
