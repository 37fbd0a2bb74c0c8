"""Whole packs on a GPU: `make test-cuda` runs these where torch sees one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence

import pytest
import torch

from accelerators.cuda_graph import graphs_refusal
from accelerators.cuda_packs import CudaPacks
from normlab.errors import JobCancelled, JobDrained
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from tests.accelerators.test_packs import Run, after, no_stop, run_pack
from tests.normlab.training.recording import small_job, train

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
HOWS = ["none", "cuda_graphs"]


@pytest.fixture(autouse=True)
def packed_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train packs also where they gain nothing."""
    monkeypatch.setattr(CudaPacks, "measures", False)


def jobs(**fields: Any) -> List[JobSpec]:
    """Return three jobs with seeds, rates and decays of their own."""
    given = {"device": "cuda", "epochs": 1, **fields}
    return [
        small_job(**given, seed=s, optimizer={"lr": 0.02 * (s + 1), "weight_decay": 0.01 * s})
        for s in range(3)
    ]


def on_gpu(specs: Sequence[JobSpec], folder: Path, *rest: Any, **named: Any) -> List[Run]:
    """Train *specs* as a pack on the GPU."""
    return run_pack(specs, folder, *rest, kind="cuda", **named)


def assert_near(run: Run, spec: JobSpec, folder: Path) -> None:
    """Compare a member's losses with those of its job alone."""
    assert isinstance(run.outcome, dict), run.outcome
    alone, _ = train(spec, folder)
    found, expected = (
        torch.tensor([value for _, value in of.points["train/loss"]])
        for of in (run.recorder, alone)
    )
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", list(BY_KIND.own))
def test_members_on_a_gpu_follow_their_jobs_alone(kind: str, how: str, tmp_path: Path) -> None:
    specs = jobs(normalizer=kind, acceleration=how)
    if how != "none" and graphs_refusal(specs[0]):
        pytest.skip(f"{kind} cannot be recorded")
    for i, run in enumerate(on_gpu(specs, tmp_path)):
        assert_near(run, specs[i], tmp_path / f"alone {i}")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_pack_on_a_gpu_resumes_bit_for_bit(how: str, precision: str, tmp_path: Path) -> None:
    specs = jobs(acceleration=how, precision=precision, ema={"decay": 0.8})
    whole = on_gpu(specs, tmp_path / "whole")
    first = on_gpu(specs, tmp_path, [after(7, JobDrained("its worker leaves")) for _ in specs])
    named = [run.recorder.named_checkpoints() for run in first]
    for run, undisturbed in zip(on_gpu(specs, tmp_path, resume=named), whole):
        for name, value in run.weights().items():
            assert torch.equal(value, undisturbed.weights()[name])


@pytest.mark.parametrize("how", HOWS)
def test_a_pack_on_a_gpu_goes_on_when_a_member_leaves(how: str, tmp_path: Path) -> None:
    specs = jobs(acceleration=how)
    stops = [no_stop, after(6, JobCancelled("the job was cancelled")), no_stop]
    runs = on_gpu(specs, tmp_path, stops)
    assert isinstance(runs[1].outcome, JobCancelled)
    for i in (0, 2):
        assert_near(runs[i], specs[i], tmp_path / f"alone {i}")


def test_diagnostics_of_members_on_a_gpu_find_what_they_find_alone(tmp_path: Path) -> None:
    specs = jobs(diagnostics=list(DIAGNOSTICS.own), max_steps=4)
    for i, run in enumerate(on_gpu(specs, tmp_path)):
        alone, _ = train(specs[i], tmp_path / f"alone {i}")
        assert set(run.recorder.points) == set(alone.points)


def test_a_gain_is_measured_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaPacks, "measures", True)
    for run in on_gpu(jobs(acceleration="cuda_graphs", batch_size=2), tmp_path):
        assert isinstance(run.outcome, dict), run.outcome
        assert run.outcome["pack_gain"] > 1
