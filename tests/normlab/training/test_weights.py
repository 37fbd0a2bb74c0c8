"""A finished training stores its weights as a file for networks of the same kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.training.weights import write_weights
from tests.normlab.training.recording import small_job, train


def network(spec: JobSpec) -> torch.nn.Module:
    return build(spec.model, spec.normalizer, 1, 10, 8)


def test_a_finished_training_says_where_its_weights_are(tmp_path: Path) -> None:
    spec = small_job(epochs=1)
    recorder, summary = train(spec, tmp_path)
    (written,) = recorder.events("ArtifactWritten")
    assert (written.name, written.bytes) == (
        "weights.safetensors",
        Path(written.path).stat().st_size,
    )
    weights = load_file(written.path)
    net = network(spec)
    net.load_state_dict(weights)
    assert isinstance(summary, dict)
    assert sum(p.numel() for p in net.parameters()) == summary["parameters"]


def test_the_weights_are_those_of_the_last_checkpoint(tmp_path: Path) -> None:
    recorder, _ = train(small_job(epochs=1), tmp_path)
    weights = load_file(recorder.events("ArtifactWritten")[0].path)
    last = torch.load(recorder.events("CheckpointWritten")[-1].path, weights_only=True)
    for name, value in last["state"]["session"]["model"].items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


def test_the_file_names_its_job(tmp_path: Path) -> None:
    spec = small_job(normalizer="group")
    written = write_weights(network(spec).state_dict(), spec, tmp_path)
    with safe_open(written.path, framework="pt") as file:
        said = json.loads(file.metadata()["job"])
    assert JobSpec.model_validate(said) == spec


DIGEST = """
import sys, tempfile, torch
from pathlib import Path
from normlab.specs.jobs import JobSpec
from normlab.training.weights import write_weights
with tempfile.TemporaryDirectory() as folder:
    spec = JobSpec.model_validate_json(sys.argv[1])
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 5)}
    print(write_weights(tensors, spec, Path(folder), {"loss": 0.5}, {"channels": 1}).sha256)
"""


def test_every_process_writes_the_same_file(tmp_path: Path) -> None:
    spec = small_job(name="Größe").model_dump_json()
    command = [sys.executable, "-c", DIGEST, spec]
    found = {subprocess.run(command, check=True, capture_output=True).stdout for _ in range(4)}
    assert len(found) == 1


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_normalizer_can_be_written(kind: str, tmp_path: Path) -> None:
    spec = small_job(normalizer=kind)
    net = network(spec)
    found = load_file(write_weights(net.state_dict(), spec, tmp_path).path)
    assert found.keys() == net.state_dict().keys()
