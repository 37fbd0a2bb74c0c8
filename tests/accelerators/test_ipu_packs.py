"""Packs on the emulation of PopTorch: members learn the same as their jobs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import torch
from torch import Tensor, nn

from accelerators import ipu_packs
from accelerators.ipu_packs import IpuPackSession
from accelerators.ipu_session import IpuSession
from accelerators.pack_members import MemberSession
from accelerators.poptorch_emulation import arguments, outputs
from normlab.errors import InvalidSpec, JobCancelled, JobDrained, UnsupportedModel
from normlab.nets.sites import MeanPool
from normlab.specs.jobs import JobSpec
from normlab.training.packs.apart import ApartNetwork
from tests.accelerators.test_ipu import emulated_job, on_ipu
from tests.accelerators.test_packs import Run, after, no_stop, run_pack
from tests.normlab.training.recording import Recorder, train

_OF_THE_HOST = {"time/epoch_s", "train/images_per_s"}
NUMBERS: Dict[str, Sequence[Dict[str, Any]]] = {
    "decay": [{"lr": 0.02, "weight_decay": 0.01}, {"lr": 0.05, "momentum": 0.5}],
    "nesterov": [{"lr": 0.02, "nesterov": True}, {"lr": 0.01, "nesterov": True, "momentum": 0.5}],
    "adamw": [{"name": "adamw", "lr": 1e-3}, {"name": "adamw", "lr": 3e-3, "beta2": 0.9}],
    "rmsprop": [
        {"name": "rmsprop", "lr": 1e-3, "weight_decay": 0.01},
        {"name": "rmsprop", "lr": 2e-3, "alpha": 0.9, "momentum": 0.5},
    ],
}


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compute in float64, which the emulation would make float32 as a device does."""

    def place(self: object, x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    for session in (IpuSession, MemberSession):
        monkeypatch.setattr(session, "place", place)
    monkeypatch.setattr(arguments, "_ON_DEVICE", {})
    monkeypatch.setattr(outputs, "_DEVICE_TYPES", {})
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def jobs(optimizers: Sequence[Dict[str, Any]] = NUMBERS["decay"], **fields: Any) -> List[JobSpec]:
    """Return jobs of six updates with seeds, smoothing and optimizers of their own."""
    given: Dict[str, Any] = {
        "model": {"name": "convnet", "width": 4},
        "dataset": {"name": "digits", "train_size": 48, "test_size": 20},
        "epochs": 1,
        **fields,
    }
    return [
        emulated_job(**{"label_smoothing": 0.1 * i, **given}, seed=i, optimizer=optimizer)
        for i, optimizer in enumerate(optimizers)
    ]


def on_emulation(specs: Sequence[JobSpec], folder: Path, *rest: Any, **named: Any) -> List[Run]:
    """Train *specs* as a pack on the emulation."""
    return run_pack(specs, folder, *rest, kind="ipu", **named)


def assert_same(run: Run, alone: Recorder) -> None:
    """Compare the weights and every number that is not of the host."""
    assert isinstance(run.outcome, dict), run.outcome
    assert set(run.recorder.points) == set(alone.points)
    for name in set(alone.points) - _OF_THE_HOST:
        found, expected = (dict(of.points[name]) for of in (run.recorder, alone))
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-9), name
    weights = Run(alone, None).weights()
    for name, value in run.weights().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", on_ipu)
def test_a_member_of_an_emulated_pack_equals_its_job_alone(
    kind: str, in_float64: None, tmp_path: Path
) -> None:
    specs = jobs(normalizer=kind)
    for i, run in enumerate(on_emulation(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


CASES: Dict[str, Dict[str, Any]] = {
    **{name: {"optimizers": own} for name, own in NUMBERS.items() if name != "decay"},
    "micro-batches, crops": {"gradient_accumulation": 2, "augmentation": {"crop": 1}},
    "mixed samples": {"augmentations": ["mixup"], "schedule": {"name": "cosine"}},
    "rates by depth, proxy": {
        "optimizers": [{"lr": 0.02, "layer_decay": 0.5}, {"lr": 0.02}],
        "normalizer": {"kind": "group", "groups": 2, "proxy": True},
    },
    "residual": {"model": {"name": "preresnet8", "width": 4}},
}


@pytest.mark.parametrize("name", list(CASES))
def test_members_of_an_emulated_pack_have_their_own_numbers(
    name: str, in_float64: None, tmp_path: Path
) -> None:
    specs = jobs(**CASES[name])
    for i, run in enumerate(on_emulation(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_members_of_equal_options_share_a_layer_of_an_emulated_pack(
    in_float64: None, tmp_path: Path
) -> None:
    rates = [{"lr": 0.02}, {"lr": 0.03}, {"lr": 0.05}]
    given = [{"kind": "group", "groups": groups} for groups in (4, 2, 4)]
    specs = [jobs(rates, normalizer=normalizer)[i] for i, normalizer in enumerate(given)]
    for i, run in enumerate(on_emulation(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_members_with_momenta_of_their_own_are_one_emulated_pack(
    in_float64: None, tmp_path: Path
) -> None:
    specs = [
        jobs(normalizer={"kind": "batch", "momentum": momentum})[i]
        for i, momentum in enumerate((0.1, 0.3))
    ]
    for i, run in enumerate(on_emulation(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_a_member_that_leaves_an_emulated_pack_does_not_touch_the_others(
    in_float64: None, tmp_path: Path
) -> None:
    specs = jobs([*NUMBERS["decay"], {"lr": 0.01}])
    stops = [no_stop, after(3, JobCancelled("the job was cancelled")), no_stop]
    runs = on_emulation(specs, tmp_path, stops)
    assert isinstance(runs[1].outcome, JobCancelled)
    for i in (0, 2):
        assert_same(runs[i], train(specs[i], tmp_path / f"alone {i}")[0])


@pytest.mark.parametrize("name", ["decay", "adamw"])
def test_an_emulated_pack_resumes_bit_for_bit_and_its_members_go_on_alone(
    name: str, tmp_path: Path
) -> None:
    specs = jobs(NUMBERS[name])
    whole = on_emulation(specs, tmp_path / "whole")
    stops = [after(3, JobDrained("its worker leaves")) for _ in specs]
    first = on_emulation(specs, tmp_path, stops)
    named = [run.recorder.named_checkpoints() for run in first]
    for run, undisturbed in zip(on_emulation(specs, tmp_path, resume=named), whole):
        for weight, value in run.weights().items():
            assert torch.equal(value, undisturbed.weights()[weight])
    _, alone = train(specs[1], tmp_path / "1", named[1])
    assert isinstance(alone, dict)
    assert alone["val/loss"] == pytest.approx(whole[1].outcome["val/loss"], rel=1e-5)


def test_a_result_of_an_emulated_pack_says_that_it_was_emulated(tmp_path: Path) -> None:
    for run in on_emulation(jobs(), tmp_path):
        assert run.outcome["runtime"] == "host-emulation"
        assert (run.outcome["packed"], run.outcome["timing_valid"]) == (2, False)
        assert "throughput and latency" in run.outcome["not_modelled"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"optimizers": [{"lr": 0.1, "clip_norm": 1.0}] * 2}, "optimizer.clip_norm"),
        ({"ipu_runtime": "hardware"}, "ipu_runtime"),
        ({"replicas": 2}, "replicas"),
    ],
)
def test_what_an_emulated_pack_cannot_take_is_named(
    fields: Dict[str, Any], field: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSpec, match=f"{field}: .* one by one"):
        on_emulation(jobs(**fields), tmp_path)


def test_a_pack_that_does_not_pass_the_op_check_is_refused_with_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class WithAnother(ApartNetwork):
        def __init__(self, nets: Sequence[nn.Module]) -> None:
            super().__init__(nets)
            self.module.register_forward_hook(lambda module, args, out: out.erfinv())

    monkeypatch.setattr(ipu_packs, "ApartNetwork", WithAnother)
    nets = [nn.Sequential(MeanPool(), nn.Linear(1, 10)) for _ in range(2)]
    with pytest.raises(UnsupportedModel, match=r"as a pack, .*aten::erfinv.*train one by one"):
        IpuPackSession(object(), nets, jobs())
