"""Jobs as people write them: YAML read into a whole specification, and written from one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.auth import ReaderDep
from api.bodies import JsonRoute
from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.json_values import json_problem
from normlab.specs.problems import explain
from normlab.specs.written import as_yaml, parse, refuse_aliases

router = APIRouter(tags=["jobs"], route_class=JsonRoute)
_SOURCE = "text"


class WrittenJob(BaseModel):
    """A job in YAML or JSON."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=100_000)


class PlainJob(BaseModel):
    """A job as plain data, valid or not yet."""

    model_config = ConfigDict(extra="forbid")

    spec: dict[str, Any]


@router.post("/jobs:read")
def read_written(written: WrittenJob, reader: ReaderDep) -> PlainJob:
    """Read a job from YAML or JSON, check it, and fill in its defaults; queue nothing."""
    try:
        refuse_aliases(written.text, _SOURCE)
        found = parse(written.text, _SOURCE)
    except InvalidSpec as e:
        raise InvalidSpec(str(e), [FieldProblem(_SOURCE, str(e))]) from e
    problem = json_problem(found)
    if problem is not None:
        raise InvalidSpec.of([problem])
    try:
        spec = JobSpec.model_validate(found)
    except ValidationError as e:
        raise InvalidSpec.of(explain(e.errors(), found, JobSpec)) from e
    return PlainJob(spec=spec.model_dump(mode="json"))


@router.post("/jobs:write")
def write_plain(plain: PlainJob, reader: ReaderDep) -> WrittenJob:
    """Write a job as YAML."""
    return WrittenJob.model_construct(text=as_yaml(plain.spec))
