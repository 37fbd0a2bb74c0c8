"""The CUDA adapter: what can be told without a GPU, and, marked, what needs one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from accelerators import open_accelerator
from accelerators.cuda import CudaAccelerator, batch_that_fits, prefers_channels_last
from accelerators.cuda_graph import graphs_refusal
from normlab import norms
from normlab.errors import DeviceUnavailable
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import Normalizer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "batch", "device": "cuda", **fields})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a GPU")
def test_without_a_gpu_the_reason_is_said() -> None:
    with pytest.raises(DeviceUnavailable, match=r"built without CUDA|sees no GPU"):
        open_accelerator("cuda", job())
    assert not CudaAccelerator().probe().available


@pytest.mark.parametrize(
    ("fixed", "wanted", "fits"),
    [(0, 200, 16), (0, 110, 16), (50, 250, 8), (0, 3201, 0), (100, 101, 0), (0, 800, 4)],
)
def test_the_hint_is_the_largest_power_of_two_that_fits(fixed: int, wanted: int, fits: int) -> None:
    assert batch_that_fits(32, 100, fixed, wanted) == fits


def test_channels_last_only_where_it_pays() -> None:
    assert prefers_channels_last(job(precision="bfloat16"))
    assert not prefers_channels_last(job())
    assert not prefers_channels_last(job(precision="bfloat16", normalizer="group"))


@pytest.mark.parametrize("kind", ["online", "streaming", "batch_renorm", "sparse_switchable"])
def test_what_a_recording_would_leave_out_is_refused(kind: str) -> None:
    refusal = graphs_refusal(job(normalizer=kind))
    assert refusal is not None
    assert kind in refusal
    assert graphs_refusal(job(normalizer="group")) is None


@needs_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("acceleration", ["none", "cuda_graphs"])
def test_a_small_net_learns(precision: str, acceleration: str) -> None:
    torch.manual_seed(0)
    spec = job(precision=precision, acceleration=acceleration, batch_size=8, deterministic=False)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), norms.make("batch", 8, "relu"), nn.Flatten(), nn.Linear(8 * 36, 2)
    )
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 2
    with open_accelerator("cuda", spec).session(model, spec) as session:
        x, y = session.place(x), session.place(y)
        losses = []
        for _ in range(30):
            session.prepare(0.05, 0.0)
            losses.append(float(session.train(x, y).loss))
    assert losses[-1] < 0.2 * losses[0]
    assert next(model.parameters()).device.type == "cpu"


@needs_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("kind", list(Normalizer))
def test_every_kind_computes_on_the_gpu_what_it_does_on_the_cpu(kind: Normalizer) -> None:
    torch.manual_seed(0)
    layers = [norms.make(kind.value, 8, "relu") for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(4, 8, 6, 6)
    there = layers[1].cuda()(x.cuda()).cpu()
    torch.testing.assert_close(there, layers[0](x), rtol=1e-4, atol=1e-5)
