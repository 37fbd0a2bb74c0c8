"""Free JSON has limits for depth and numbers, and every integer of a spec has a limit."""

from __future__ import annotations

from typing import Any, Iterator, Tuple

import pytest
from pydantic import ValidationError

from normlab.specs.jobs import JobSpec
from normlab.specs.json_values import MAX_DEPTH, MAX_INTEGER, json_problem
from normlab.specs.studies import StudySpec


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_values_that_the_database_can_store_are_accepted() -> None:
    value = {"a": [1, -MAX_INTEGER - 1, MAX_INTEGER, 1.5, None, True, "Löwe 🦁"], "b": {}}
    assert json_problem(value) is None
    assert json_problem(nested(MAX_DEPTH)) is None


@pytest.mark.parametrize(
    ("value", "field", "rule"),
    [
        ({"a": {"b": [0, 2**63]}}, "a.b.1", "64 bits"),
        ({"a": -(2**63) - 1}, "a", "64 bits"),
        ({"a": float("inf")}, "a", "finite"),
        ({"a": "x\x00"}, "a", "NUL"),
        ({"a": ["\ud800"]}, "a.0", "broken Unicode"),
        ({"a": {"\udfff": 1}}, "a", "broken Unicode"),
        (nested(MAX_DEPTH + 1), ".".join("0" * (MAX_DEPTH + 1)), "32 levels"),
        ("\x00", "body", "NUL"),
    ],
)
def test_values_that_cannot_be_stored_are_named_with_their_place(
    value: Any, field: str, rule: str
) -> None:
    problem = json_problem(value)
    assert problem is not None
    assert problem.field == field
    assert rule in problem.rule


def test_any_depth_is_refused_without_recursion() -> None:
    assert json_problem(nested(100_000)) is not None


@pytest.mark.parametrize("model", [JobSpec, StudySpec])
def test_every_integer_of_a_spec_fits_into_the_database(model: Any) -> None:
    integers = list(_integers(model.model_json_schema()))
    assert integers
    for path, schema in integers:
        most = schema.get("maximum", schema.get("exclusiveMaximum", 2**64))
        assert most <= MAX_INTEGER, path


def _integers(schema: Any, path: str = "") -> Iterator[Tuple[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield path, schema
        for key, inner in schema.items():
            yield from _integers(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from _integers(inner, path)


def test_a_job_with_an_integer_beyond_the_database_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_steps"):
        JobSpec.model_validate({"normalizer": "batch", "max_steps": 10**30})
