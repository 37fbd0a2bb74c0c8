"""Whole trainings on a GPU; `make test-cuda` runs those of tests/normlab/training there too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accelerators import open_accelerator
from accelerators.cuda_graph import graphs_refusal
from accelerators.replica_group import joined
from normlab.errors import OutOfDeviceMemory
from normlab.specs.models import MODELS
from normlab.specs.normalizers import BY_KIND
from normlab.training.accelerator import StepResult
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_resume import check_resume
from tests.normlab.training.test_tasks import EXAMPLES

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
PICTURES: dict[str, Any] = {
    "dataset": {"name": "shapes32", "train_size": 16, "test_size": 8},
    "batch_size": 4,
}
GRAPHED = [k for k in BY_KIND if not graphs_refusal(small_job(normalizer=k))]
FAST: dict[str, dict[str, Any]] = {
    "tf32": {"tf32": True},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "graphs": {"acceleration": "cuda_graphs"},
    "graphs of parts": {"acceleration": "cuda_graphs", "gradient_accumulation": 2},
    "graphs in bfloat16": {"acceleration": "cuda_graphs", "precision": "bfloat16"},
    "graphs in float16": {"acceleration": "cuda_graphs", "precision": "float16"},
    "triton": {"acceleration": "triton", "normalizer": "switchable"},
    "triton in bfloat16": {
        "acceleration": "triton",
        "normalizer": "switchable",
        "precision": "bfloat16",
    },
    "graphs of triton": {"acceleration": "triton_graphs", "normalizer": "batch_renorm"},
}


@pytest.mark.parametrize("variant", list(FAST))
def test_a_resumed_job_ends_with_the_same_bits(variant: str, tmp_path: Path) -> None:
    check_resume(tmp_path, {"device": "cuda", **FAST[variant]})


@pytest.mark.parametrize("kind", GRAPHED)
def test_a_replayed_step_computes_what_an_eager_one_does(kind: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"device": "cuda", "normalizer": kind, "epochs": 1}
    eager, _ = train(small_job(**fields), tmp_path / "eager")
    replayed, _ = train(small_job(acceleration="cuda_graphs", **fields), tmp_path / "replayed")
    _assert_close(replayed.points["train/loss"], eager.points["train/loss"])


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_triton_kernels_compute_what_stock_operators_do(kind: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"device": "cuda", "normalizer": kind, "epochs": 1}
    stock, _ = train(small_job(**fields), tmp_path / "stock")
    hows = ["triton", "triton_graphs"] if kind in GRAPHED else ["triton"]
    for how in hows:
        found, _ = train(small_job(acceleration=how, **fields), tmp_path / how)
        _assert_close(found.points["train/loss"], stock.points["train/loss"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batch", "group", "online"])
def test_torch_compile_computes_what_an_eager_net_does(kind: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"device": "cuda", "normalizer": kind, "epochs": 1}
    eager, _ = train(small_job(**fields), tmp_path / "eager")
    compiled, _ = train(small_job(acceleration="compile", **fields), tmp_path / "compiled")
    _assert_close(compiled.points["train/loss"], eager.points["train/loss"])


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_a_gpu_trains_as_a_cpu_does(kind: str, tmp_path: Path) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        spec = small_job(device=device, normalizer=kind, epochs=1)
        found[device] = train(spec, tmp_path / device)[0].points["train/loss"]
    _assert_close(found["cuda"], found["cpu"])


@pytest.mark.parametrize("name", [m for m in MODELS if m != "randomplain100"])
def test_every_net_trains_deterministically(name: str, tmp_path: Path) -> None:
    example = EXAMPLES.get(MODELS[name].task, PICTURES)
    fields = {**example, "model": {"name": name}, "epochs": 1, "max_steps": 4}
    spec = small_job(device="cuda", **fields)
    once, _ = train(spec, tmp_path / "once")
    again, _ = train(spec, tmp_path / "again")
    assert once.points["train/loss"]
    assert once.points["train/loss"] == again.points["train/loss"]


def test_out_of_memory_names_a_batch_that_fits(tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0005)
    model = {"name": "resnet18", "width": 64}
    spec = small_job(device="cuda", **{**PICTURES, "model": model, "batch_size": 16})
    try:
        with pytest.raises(OutOfDeviceMemory, match=r"batch_size=16 does not fit.*try batch_size="):
            train(spec, tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_one_replica_averages_with_itself_over_nccl(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(3, device="cuda"))
    parameter.grad = torch.tensor([1.0, 2.0, 3.0], device="cuda")
    here = StepResult(torch.tensor(0.5).cuda(), torch.tensor(2).cuda(), 4)
    with joined("cuda", 0, 1, tmp_path) as group:
        assert group.backend == "nccl"
        found = group.average([parameter], here)
        decisions = [group.agree(lambda: 7), group.agree(lambda: 0)]
    assert parameter.grad.tolist() == [1, 2, 3]
    assert (float(found.loss), float(found.correct), found.predictions) == (0.5, 2, 4)
    assert decisions == [0, 7]


def test_a_result_names_the_gpu_and_its_memory_use(tmp_path: Path) -> None:
    spec = small_job(device="cuda", epochs=1)
    _, summary = train(spec, tmp_path)
    assert isinstance(summary, dict)
    assert summary["device"] == summary["runtime"] == "cuda"
    assert torch.cuda.get_device_name(0) in summary["description"]
    assert 0 < summary["device/memory_peak_bytes"] < open_memory()


def open_memory() -> int:
    """Return the memory of the GPU in bytes, as the adapter reports it."""
    probe = open_accelerator("cuda", small_job(device="cuda")).probe()
    assert probe.memory_bytes is not None
    return probe.memory_bytes


def _assert_close(points: Any, expected: Any) -> None:
    found, wanted = (torch.tensor([value for _, value in p]) for p in (points, expected))
    torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2)
