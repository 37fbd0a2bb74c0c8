"""A user's own network is inspected with its code: its memory, and its operators for the IPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accelerators.inspection.server import answer
from normlab.plugins.describing import to_question
from normlab.plugins.loading import load, use
from normlab.specs.jobs import JobSpec
from tests.normlab.plugins.own_networks import JOB, my_nets

pytestmark = pytest.mark.usefixtures("no_plugins")


@pytest.mark.parametrize("name", ["tower_of_mine", "torches_of_mine"])
def test_its_parameters_memory_and_operators_are_looked_at(name: str, tmp_path: Path) -> None:
    use([load(my_nets().written_below(tmp_path), "my_nets.py")])
    spec = JobSpec.model_validate({**JOB, "model": {"name": name}})
    question = {**spec.model_dump(mode="json"), "sources": [to_question(my_nets())]}
    found = answer(json.dumps(question).encode())
    assert found["parameters"] == {"tower_of_mine": 206, "torches_of_mine": 114}[name]
    assert found["ipu_passes"], found["ipu_message"]
