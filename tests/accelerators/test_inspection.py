from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from accelerators.inspection.server import answer, inspect
from normlab.nets import build
from normlab.specs.jobs import JobSpec

CASES: dict[str, dict[str, Any]] = {
    "small net": {"normalizer": "group", "dataset": {"name": "digits"}, "batch_size": 8},
    "wide net": {
        "normalizer": "group",
        "model": {"name": "resnet20", "width": 32},
        "dataset": {"name": "digits"},
        "batch_size": 256,
        "optimizer": {"name": "adamw"},
    },
    "unet": {
        "normalizer": "online",
        "model": {"name": "unet", "width": 16},
        "dataset": {"name": "scenes32"},
        "batch_size": 64,
    },
    "lstm": {
        "normalizer": "layer",
        "model": {"name": "lstm", "width": 256},
        "dataset": {"name": "grammar"},
        "batch_size": 64,
    },
}

_RUN = """
import sys
from pathlib import Path
from accelerators import open_accelerator
from accelerators.cpu import resident_peak_bytes
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from tests.normlab.training.recording import Recorder
spec = JobSpec.model_validate_json(sys.argv[1])
folder = Path(sys.argv[2])
checkpoints = CheckpointFolder(folder, spec.fingerprint(), ())
fit(spec, open_accelerator("cpu", spec, 1), Recorder(), checkpoints, folder, lambda: None)
print(resident_peak_bytes())
"""

_ESTIMATE = """
import sys
from accelerators.inspection.memory import estimate
from normlab.specs.jobs import JobSpec
print(estimate(JobSpec.model_validate_json(sys.argv[1])))
"""


def _in_a_fresh_process(code: str, *arguments: str) -> int:
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=root, check=True, stdout=subprocess.PIPE
    )
    return int(result.stdout.split()[-1])


@pytest.mark.parametrize("case", list(CASES))
def test_the_estimate_is_within_a_quarter_of_the_measured_peak(case: str, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("the inspector runs on the API's Python")
    fields = {**CASES[case], "device": "cpu", "epochs": 1, "max_steps": 3}
    spec = JobSpec.model_validate(fields).model_dump_json()
    measured = _in_a_fresh_process(_RUN, spec, str(tmp_path))
    estimated = _in_a_fresh_process(_ESTIMATE, spec)
    assert estimated == pytest.approx(measured, rel=0.25)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the inspector runs on the API's Python")
def test_parameters_are_those_of_the_net() -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", "dataset": {"name": "digits"}})
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    assert inspect(spec)["parameters"] == sum(p.numel() for p in model.parameters())


def test_a_question_that_is_not_a_spec_is_answered_with_the_error() -> None:
    assert "normalizer" in answer(b"{}")["error"]


def test_a_network_that_cannot_be_built_is_answered_with_the_error() -> None:
    question = {"normalizer": "group", "model": {"name": "nothing"}}
    assert "no model 'nothing'" in answer(json.dumps(question).encode())["error"]


def test_inspecting_a_huge_network_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spec = {"normalizer": "layer", "model": {"name": "convnet", "width": 4096}, "batch_size": 4096}
    if sys.version_info >= (3, 11):
        found = answer(json.dumps(spec).encode())
        assert found["memory_bytes"] > 1 << 38
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the inspector runs on the API's Python")
def test_a_client_that_asks_nothing_is_disconnected_and_delays_nobody(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "accelerators.inspection", "--socket", str(path)]
    server = subprocess.Popen([*command, "--answer-within-s", "10", "--lifeline"], stdin=-1)
    try:
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as asking:
            silent.connect(str(path))
            asking.connect(str(path))
            asking.sendall(b"{}\n")
            assert b"normalizer" in asking.makefile("rb").readline()
            silent.settimeout(120)
            assert silent.recv(1) == b""
    finally:
        server.communicate(timeout=120)  # closes its lifeline


def test_an_average_of_the_weights_takes_its_memory() -> None:
    wide: dict[str, Any] = {"model": {"name": "resnet20", "width": 64}, "batch_size": 2}
    fields = {"normalizer": "layer", "dataset": {"name": "digits", "test_size": 2}, **wide}
    plain, averaged = (
        inspect(JobSpec.model_validate({**fields, **ema})) for ema in ({}, {"ema": {}})
    )
    more = averaged["memory_bytes"] - plain["memory_bytes"]
    assert more > 4 * plain["parameters"]
