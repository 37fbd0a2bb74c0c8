"""The interface behaves as described for arbitrary requests."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import OPERATORS_TOKEN, a_job

# Streams do not end by themselves; health checks and metrics take no parameters.
_LEFT_OUT = r"events$|^/metrics$|livez|readyz"
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_few = settings(
    max_examples=6,
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_interface_answers_arbitrary_requests_as_described(
    url: str, client: httpx.Client, mode: GenerationMode
) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path_regex=_LEFT_OUT)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue

        @_few
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Case) -> None:
            if "job" in case.path_parameters:
                case.path_parameters["job"] = job
            case.query.pop("follow", None)  # waits, as requested
            case.call_and_validate(
                headers={"Authorization": f"Bearer {OPERATORS_TOKEN}"}, checks=_CHECKS
            )

        answers()
