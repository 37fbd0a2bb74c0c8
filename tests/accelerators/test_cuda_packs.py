"""Packs on a GPU: everything that can be tested without one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest
import torch

from accelerators import joint_session, packs
from accelerators.cuda_graph import graphs_refusal
from accelerators.cuda_packs import CudaPacks, GraphedPackSession
from normlab.errors import JobCancelled, JobDrained, OutOfDeviceMemory, PackFellApart
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.training.packs.session import PackSession
from tests.accelerators.recorded_operators import RecordedGraph, simulate_gpu
from tests.accelerators.test_packs import Resume, Run, after, no_stop, run_pack
from tests.normlab.training.packs.members import STEPS, batches_of, built, distance
from tests.normlab.training.recording import small_job

GRAPHED = [kind for kind in BY_KIND.own if not graphs_refusal(small_job(normalizer=kind))]
NUMBERS: Dict[str, Sequence[Dict[str, Any]]] = {
    "sgd": [{"lr": 0.02, "weight_decay": 0.01}, {"lr": 0.05, "momentum": 0.5, "clip_norm": 0.1}],
    "nesterov": [
        {"lr": 0.02, "nesterov": True},
        {"lr": 0.01, "nesterov": True, "layer_decay": 0.5},
    ],
    "entries": [{"lr": 0.02, "clip_value": 1e-3}, {"lr": 0.02}],
    "units": [{"lr": 0.02, "clip_ratio": 0.01}, {"lr": 0.02}],
    "adamw": [{"name": "adamw", "lr": 1e-3}, {"name": "adamw", "lr": 3e-3, "beta2": 0.9}],
    "rmsprop": [{"name": "rmsprop", "lr": 1e-3}, {"name": "rmsprop", "lr": 2e-3, "alpha": 0.9}],
}


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute on the host as if it were a GPU."""
    simulate_gpu(monkeypatch)
    monkeypatch.setattr(packs, "open_packs", lambda kind, spec, threads: _device(spec))
    monkeypatch.setattr(CudaPacks, "probe", lambda self: super(CudaPacks, self).probe())


def _device(spec: JobSpec) -> CudaPacks:
    return CudaPacks(spec, 1, torch.device("cpu"))


def members(optimizers: Sequence[Dict[str, Any]], **fields: Any) -> List[JobSpec]:
    """Return jobs with seeds, smoothing and optimizers of their own."""
    given = {"model": {"name": "convnet", "width": 4}, "batch_size": 4, **fields}
    return [
        small_job(**given, seed=i, optimizer=optimizer, label_smoothing=0.1 * i)
        for i, optimizer in enumerate(optimizers)
    ]


def trained(kind: Any, specs: Sequence[JobSpec], updates: int = 6) -> List[Dict[str, Any]]:
    """Train *specs* by sessions of *kind* with rates that fall; return the members' states."""
    session = kind([built(spec, 8).float() for spec in specs], specs)
    batches = [batches_of(spec, updates, 8) for spec in specs]
    for step in range(updates):
        rates = [spec.optimizer.lr / (1 + step) for spec in specs]
        session.prepare(rates, step / STEPS)
        session.train(
            torch.stack([batch[step][0].float() for batch in batches]),
            torch.stack([batch[step][1] for batch in batches]),
        )
    return [session.state_of(i) for i in range(len(specs))]


@pytest.mark.parametrize("name", list(NUMBERS))
@pytest.mark.parametrize("parts", [1, 2])
def test_a_replayed_update_reads_each_members_numbers_anew(name: str, parts: int) -> None:
    specs = members(NUMBERS[name], gradient_accumulation=parts)
    eager, replayed = trained(PackSession, specs), trained(GraphedPackSession, specs)
    for one, other in zip(eager, replayed):
        assert distance(one["model"], other["model"]) == 0.0


@pytest.mark.parametrize("kind", GRAPHED)
def test_every_kind_that_can_be_recorded_is_in_a_pack_too(kind: str) -> None:
    specs = members(NUMBERS["sgd"], normalizer=kind)
    eager, replayed = trained(PackSession, specs), trained(GraphedPackSession, specs)
    for one, other in zip(eager, replayed):
        assert distance(one["model"], other["model"]) == 0.0


def test_an_update_of_all_members_is_one_launch() -> None:
    trained(GraphedPackSession, members(4 * NUMBERS["sgd"]), updates=9)
    (graph,) = RecordedGraph.made
    assert graph.replays == 6  # three eager updates come first


def jobs(**fields: Any) -> List[JobSpec]:
    """Return three jobs for a GPU whose updates are recorded."""
    given = {"model": {"name": "convnet", "width": 4}, "epochs": 1, **fields}
    one = partial(small_job, device="cuda", acceleration="cuda_graphs", **given)
    return [one(seed=seed, optimizer={"lr": 0.02 * (seed + 1)}) for seed in range(3)]


def on_gpu(specs: Sequence[JobSpec], folder: Path, *rest: Any, **named: Any) -> List[Run]:
    """Train *specs* as a pack on the simulated GPU."""
    return run_pack(specs, folder, *rest, kind="cuda", **named)


def stripped(specs: Sequence[JobSpec]) -> List[JobSpec]:
    """Return the same jobs without recordings."""
    return [spec.model_copy(update={"acceleration": "none"}) for spec in specs]


def assert_same(runs: Sequence[Run], others: Sequence[Run]) -> None:
    """Compare the weights of finished members, bit for bit."""
    for run, other in zip(runs, others):
        assert isinstance(run.outcome, dict), run.outcome
        for name, value in run.weights().items():
            assert torch.equal(value, other.weights()[name]), name


@pytest.fixture
def gains(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """Return the list from which measurements of a pack's gain are taken."""
    given = [3.456]
    monkeypatch.setattr(joint_session, "measured_gain", lambda *_: given[-1])
    return given


def test_a_pack_that_a_member_leaves_is_recorded_anew(tmp_path: Path, gains: List[float]) -> None:
    stops = [no_stop, after(6, JobCancelled("the job was cancelled")), no_stop]
    runs = on_gpu(jobs(), tmp_path / "graphed", stops)
    assert isinstance(runs[1].outcome, JobCancelled)
    assert len(RecordedGraph.made) == 2
    stops = [no_stop, after(6, JobCancelled("the job was cancelled")), no_stop]
    eager = on_gpu(stripped(jobs()), tmp_path / "eager", stops)
    assert_same([runs[0], runs[2]], [eager[0], eager[2]])


def test_a_recorded_pack_that_is_interrupted_resumes_bit_for_bit(
    tmp_path: Path, gains: List[float]
) -> None:
    whole = on_gpu(jobs(ema={"decay": 0.8}), tmp_path / "whole")
    stops = [after(5, JobDrained("its worker leaves")) for _ in range(3)]
    first = on_gpu(jobs(ema={"decay": 0.8}), tmp_path, stops)
    resume: Resume = [run.recorder.named_checkpoints() for run in first]
    assert_same(on_gpu(jobs(ema={"decay": 0.8}), tmp_path, resume=resume), whole)


def test_a_result_names_the_gpu_the_pack_and_its_measured_gain(
    tmp_path: Path, gains: List[float]
) -> None:
    for run in on_gpu(jobs(), tmp_path):
        assert (run.outcome["device"], run.outcome["runtime"]) == ("cuda", "packed")
        assert (run.outcome["packed"], run.outcome["pack_gain"]) == (3, 3.46)
        assert run.outcome["timing_valid"] is False
        assert run.outcome["device/memory_peak_bytes"] == 2**20


def test_a_pack_that_is_slower_than_its_members_alone_falls_apart(
    tmp_path: Path, gains: List[float]
) -> None:
    gains.append(0.9)
    for run in on_gpu(jobs(), tmp_path):
        assert isinstance(run.outcome, PackFellApart)
        assert "0.90 times as fast" in str(run.outcome)


def test_a_pack_is_compared_with_a_member_alone_and_learns_nothing_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: List[float] = []
    compare = joint_session.measured_gain

    def noted(*given: Any) -> float:
        measured.append(compare(*given))
        return 2.0

    monkeypatch.setattr(joint_session, "measured_gain", noted)
    compared = on_gpu(jobs(), tmp_path / "compared")
    assert len(measured) == 1
    assert measured[0] > 0
    monkeypatch.setattr(joint_session, "measured_gain", lambda *_: 2.0)
    assert_same(compared, on_gpu(jobs(), tmp_path / "not"))


def test_a_pack_that_does_not_fit_into_the_gpu_says_so(
    tmp_path: Path, gains: List[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(PackSession, "_backward", full)
    outcomes: List[Optional[Any]] = [run.outcome for run in on_gpu(jobs(), tmp_path)]
    assert all(isinstance(outcome, OutOfDeviceMemory) for outcome in outcomes)
    assert "Tried to allocate 2.00 GiB.)" in str(outcomes[0])
