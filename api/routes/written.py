"""Jobs and studies as people write them: YAML read into specifications, and written from them."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.auth import ReaderDep
from api.bodies import JsonRoute
from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.json_values import json_problem
from normlab.specs.problems import explain
from normlab.specs.studies import StudySpec
from normlab.specs.written import as_yaml, parse, refuse_aliases

router = APIRouter(route_class=JsonRoute)
_SOURCE = "text"
Written = TypeVar("Written", JobSpec, StudySpec)


class WrittenJob(BaseModel):
    """A job or a study in YAML or JSON."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=100_000)


class PlainJob(BaseModel):
    """A job or a study as plain data, valid or not yet."""

    model_config = ConfigDict(extra="forbid")

    spec: dict[str, Any]


@router.post("/jobs:read", tags=["jobs"])
def read_written(written: WrittenJob, reader: ReaderDep) -> PlainJob:
    """Read a job from YAML or JSON, check it, and fill in its defaults; queue nothing."""
    return PlainJob(spec=_read(written.text, JobSpec).model_dump(mode="json"))


@router.post("/jobs:write", tags=["jobs"])
def write_plain(plain: PlainJob, reader: ReaderDep) -> WrittenJob:
    """Write a job as YAML."""
    return WrittenJob.model_construct(text=as_yaml(plain.spec))


@router.post("/studies:read", tags=["studies"])
def read_written_study(written: WrittenJob, reader: ReaderDep) -> PlainJob:
    """Read a study from YAML or JSON, and check it as a whole; queue nothing."""
    spec = _read(written.text, StudySpec)
    return PlainJob(spec=spec.model_dump(mode="json", exclude_defaults=True))


@router.post("/studies:write", tags=["studies"])
def write_plain_study(plain: PlainJob, reader: ReaderDep) -> WrittenJob:
    """Write a study as YAML."""
    return WrittenJob.model_construct(text=as_yaml(plain.spec))


def _read(text: str, model: type[Written]) -> Written:
    try:
        refuse_aliases(text, _SOURCE)
        found = parse(text, _SOURCE)
    except InvalidSpec as e:
        raise InvalidSpec(str(e), [FieldProblem(_SOURCE, str(e))]) from e
    problem = json_problem(found)
    if problem is not None:
        raise InvalidSpec.of([problem])
    try:
        return model.model_validate(found)
    except ValidationError as e:
        raise InvalidSpec.of(explain(e.errors(), found, model)) from e
