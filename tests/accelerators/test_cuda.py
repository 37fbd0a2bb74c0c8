"""The CUDA adapter: everything that can be tested without a GPU."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accelerators import open_accelerator
from accelerators.cuda import CudaAccelerator, _kernels, backend_of, prefers_channels_last
from accelerators.cuda_graph import GraphedStep, graphs_refusal
from accelerators.cuda_memory import batch_that_fits, bytes_asked_for, explain
from normlab import norms
from normlab.errors import DeviceUnavailable
from normlab.norms import engine_triton
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.training.accelerator import StepResult


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "batch", "device": "cuda", **fields})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a GPU")
def test_without_a_gpu_the_reason_is_given() -> None:
    with pytest.raises(DeviceUnavailable, match=r"built without CUDA|sees no GPU"):
        open_accelerator("cuda", job())
    assert not CudaAccelerator().probe().available


@pytest.mark.parametrize(
    ("fixed", "wanted", "fits"),
    [(0, 200, 16), (0, 110, 16), (50, 250, 8), (0, 3201, 0), (100, 101, 0), (0, 800, 4)],
)
def test_the_hint_is_the_largest_power_of_two_that_fits(fixed: int, wanted: int, fits: int) -> None:
    assert batch_that_fits(32, 100, fixed, wanted) == fits


@pytest.mark.parametrize(
    ("message", "asked_for"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has", 20 * 2**20),
        ("CUDA out of memory. Tried to allocate 1.50 GiB (GPU 0;", 3 * 2**29),
        ("CUDA out of memory. Tried to allocate 512 bytes.", 512),
        ("something else", 0),
    ],
)
def test_the_missing_bytes_are_read_from_torchs_message(message: str, asked_for: int) -> None:
    assert bytes_asked_for(message) == asked_for


def test_out_of_memory_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(total_memory=8 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")
    words = explain(error, nn.Linear(8, 8), job(batch_size=32), torch.device("cuda"))
    assert "batch_size=32 does not fit into 8.0 GiB" in words
    assert "try batch_size=8 with gradient_accumulation=4" in words
    assert "more" not in words


@pytest.mark.parametrize("tf32", [False, True])
def test_the_switches_of_the_process_are_set_and_restored(
    tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    with backend_of(job(tf32=tf32, deterministic=False)):
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (tf32, tf32, True)
    with backend_of(job()):
        assert not cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == before


@pytest.mark.parametrize("acceleration", ["none", "cuda_graphs", "triton", "triton_graphs"])
def test_triton_kernels_are_used_only_on_request(
    acceleration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = SimpleNamespace(is_interpreted=lambda: False)
    monkeypatch.setattr(engine_triton, "version", lambda: "3.7.1")
    monkeypatch.setattr(engine_triton, "_imported", lambda: package)
    with _kernels(job(acceleration=acceleration)):
        assert engine_triton.is_loaded() == acceleration.startswith("triton")
    assert not engine_triton.is_loaded()


def test_a_job_that_asks_for_triton_fails_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_triton, "version", lambda: None)
    with pytest.raises(DeviceUnavailable, match=r"acceleration 'triton': .* found none"):
        _kernels(job(acceleration="triton")).__enter__()


class _FloatOperators(TorchDispatchMode):
    """Records the operators that are called on floating-point numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            self.found.add(func._schema.name)
        return func(*args, **(kwargs or {}))


# Operators that raise on CUDA by torch's documentation of use_deterministic_algorithms, as far as
# a layer could use them; jobs are deterministic by default.
_RAISES = {"cumsum", "put_", "histc", "bincount", "median", "kthvalue", "grid_sampler_2d"}


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_no_kind_needs_an_operator_without_a_deterministic_form(kind: str) -> None:
    layer = norms.make(kind, 8, "relu")
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    with _FloatOperators() as operators:
        layer(x).square().sum().backward()
    assert operators.found
    assert not operators.found & {f"aten::{name}" for name in _RAISES}


def test_channels_last_is_used_only_where_it_is_faster() -> None:
    assert prefers_channels_last(job(precision="bfloat16"))
    assert not prefers_channels_last(job())
    assert not prefers_channels_last(job(precision="bfloat16", normalizer="group"))


@pytest.mark.parametrize("kind", ["online", "streaming", "batch_renorm", "sparse_switchable"])
def test_a_kind_that_a_recording_would_miss_is_refused(kind: str) -> None:
    refusal = graphs_refusal(job(normalizer=kind))
    assert refusal is not None
    assert kind in refusal
    assert graphs_refusal(job(normalizer="group")) is None


class _Stream:
    def wait_stream(self, other: Any) -> None:
        """Nothing runs concurrently here."""


class _Recorded:
    """Replaces a CUDA graph: a replay computes at the addresses of the recording."""

    recorded = 0

    def __init__(self) -> None:
        self.replay: Any = None


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate on the host what a recording needs from CUDA."""

    @contextmanager
    def record(graph: _Recorded) -> Iterator[None]:
        _Recorded.recorded += 1
        yield

    monkeypatch.setattr(_Recorded, "recorded", 0)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", _Recorded)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())


def test_a_step_is_recorded_once_after_eager_ones_and_reads_fixed_addresses(
    no_graphs: None,
) -> None:
    seen: list[int] = []

    def step(x: Tensor, y: Tensor) -> StepResult:
        seen.append(x.data_ptr())
        return StepResult(x.sum(), y.sum(), len(y))

    graphed = GraphedStep(step)
    inputs = [torch.full((2,), float(i)) for i in range(6)]
    results = [graphed(x, x.long()) for x in inputs[:3]]
    graphed._record(inputs[3], inputs[3].long())
    x, found = graphed._x, graphed._result
    assert x is not None
    assert found is not None
    graphed._graph.replay = lambda: found.loss.copy_(x.sum())
    results += [graphed(x, x.long()) for x in inputs[3:]]
    assert [float(r.loss) for r in results] == [2.0 * i for i in range(6)]
    assert len(seen) == 4  # three eager steps and the recording
    assert seen[3] not in [x.data_ptr() for x in inputs]
    assert _Recorded.recorded == 1
