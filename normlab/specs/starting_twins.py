"""The twin whose final weights a job starts from: the same job, with a few fields changed."""

from __future__ import annotations

import copy
from typing import Optional

from pydantic import ValidationError

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.exclusions import put
from normlab.specs.jobs import JobSpec
from normlab.specs.problems import explain

FIELD = "init_from.twin"
# Only this job has these: its twin begins with fresh weights and trains all of them.
_OWN = {"init_from", "freeze", "continues", "name"}


def starting_twin(spec: JobSpec) -> Optional[JobSpec]:
    """
    Return the job whose final weights *spec* starts from by `init_from.twin`, or None.

    It is *spec*, seed included, from fresh weights and with the named fields changed.

    Raises:
        InvalidSpec: with these changes it is not a job; the problems name the changed fields.
    """
    start = spec.init_from
    if start is None or start.twin is None:
        return None
    raw = spec.model_dump(mode="json", exclude=_OWN)
    for path, value in start.twin.items():
        put(raw, path, copy.deepcopy(value))
    try:
        return JobSpec.model_validate(raw)
    except ValidationError as e:
        found = explain(e.errors(), raw, JobSpec)
        raise InvalidSpec.of([FieldProblem(f"{FIELD}.{p.field}", p.rule) for p in found]) from e
