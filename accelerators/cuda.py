"""One NVIDIA GPU: float32, TF32, bfloat16 and float16 with gradient scaling."""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, Optional

import torch
from torch import Tensor, nn

from accelerators.cpu import check_replicas, host_computation, replica_facts
from accelerators.cuda_graph import GraphedStep, graphs_refusal
from accelerators.cuda_memory import explain
from accelerators.replica_group import ReplicaGroup
from accelerators.torch_session import TorchSession
from normlab.errors import DeviceUnavailable, OutOfDeviceMemory, UnsupportedModel
from normlab.norms import engine_triton
from normlab.specs.devices import GRAPHED, IN_TRITON
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe

_HALF = ("bfloat16", "float16")


def open_device(
    spec: JobSpec, threads: Optional[int] = None, group: Optional[ReplicaGroup] = None
) -> CudaAccelerator:
    """
    Open the first visible GPU or, for replica i, GPU number i.

    A worker makes one GPU per replica visible to a job.

    Raises:
        DeviceUnavailable: torch sees no GPU.
        UnsupportedModel: the options of the job are incompatible.
    """
    found = CudaAccelerator(threads).probe()
    if not found.available:
        raise DeviceUnavailable(found.reason)
    check_replicas(spec, group)
    if group is not None and torch.cuda.device_count() < group.local_count:
        raise DeviceUnavailable(
            f"{group.local_count} replicas need a GPU each, and this job sees "
            f"{torch.cuda.device_count()}; give the worker as many slots, or lower replicas"
        )
    refusal = graphs_refusal(spec) if spec.acceleration in GRAPHED else None
    if refusal:
        raise UnsupportedModel(refusal)
    return CudaAccelerator(spec.threads or threads, group, fused=spec.acceleration in IN_TRITON)


class CudaAccelerator:
    """
    A GPU that torch drives through CUDA.

    Args:
        threads: the threads for work on the host, over all replicas.
        group: the replicas that this process belongs to, if there are others.
        fused: whether the job uses Triton kernels, so that results name Triton's version.
    """

    kind = "cuda"
    runtime = "cuda"
    timing_valid = True

    def __init__(
        self,
        threads: Optional[int] = None,
        group: Optional[ReplicaGroup] = None,
        *,
        fused: bool = False,
    ) -> None:
        self.threads = threads if group is None else group.share_of(threads)
        self._group = group
        self._fused = fused

    def probe(self) -> Probe:
        """Describe the GPU that torch sees, if any."""
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        if not torch.cuda.is_available():
            built = torch.version.cuda
            reason = (
                f"torch {torch.__version__} is built for CUDA {built} and sees no GPU; look at "
                "the driver and at CUDA_VISIBLE_DEVICES"
                if built
                else f"torch {torch.__version__} is built without CUDA; install a CUDA build"
            )
            return Probe(False, reason, "no GPU", None, versions)
        properties = torch.cuda.get_device_properties(0)
        versions["cuda"] = str(torch.version.cuda)
        if self._fused:
            versions["triton"] = str(engine_triton.version())
        facts = replica_facts(self._group)
        description = f"{properties.name}, compute capability {properties.major}.{properties.minor}"
        return Probe(True, "torch sees it", description, properties.total_memory, versions, facts)

    @contextmanager
    def session(self, model: nn.Module, spec: JobSpec) -> Iterator[CudaSession]:
        """
        Move *model* to the GPU; on exit, move its weights back to the host.

        Raises:
            DeviceUnavailable: the job asks for Triton kernels, and Triton cannot be used here.
        """
        device = torch.device("cuda", 0 if self._group is None else self._group.local_rank)
        torch.cuda.reset_peak_memory_stats(device)
        with backend_of(spec), host_computation(self.threads, spec), _kernels(spec):
            try:
                yield CudaSession(model.to(device), spec, device, self._group)
            except torch.cuda.OutOfMemoryError as e:
                raise OutOfDeviceMemory(explain(e, model, spec, device)) from e
            finally:
                if self._group is None or not self._group.sharded:  # shards stay there
                    model.to("cpu")


class CudaSession(TorchSession):
    """A model on a GPU; small batches may be replayed as one CUDA graph."""

    def __init__(
        self,
        model: nn.Module,
        spec: JobSpec,
        device: torch.device,
        group: Optional[ReplicaGroup] = None,
    ) -> None:
        super().__init__(model, spec, device, group)
        self._scaler = _make_scaler(enabled=spec.precision == "float16")
        self._memory_format = (
            torch.channels_last if prefers_channels_last(spec) else torch.contiguous_format
        )
        for one in (model, self.evaluated()) if self._shards is None else ():  # parts are rows
            one.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._graph = (
            GraphedStep(self._accumulate_eagerly) if spec.acceleration in GRAPHED else None
        )
        self._run: Any = torch.compile(model) if spec.acceleration == "compile" else model

    def place(self, x: Tensor) -> Tensor:
        """Return *x* on the GPU; the host does not wait for the copy of a pinned batch."""
        return x.to(self.device, non_blocking=x.is_pinned())

    def train(self, x: Tensor, y: Tensor) -> Any:
        """Make one update; gradients keep the addresses that a graph writes to."""
        if self._graph is None:
            return super().train(self._shaped(x), y)
        self._switch(training=True)
        return self._conclude(self._graph(self._shaped(x), y))

    def evaluate(self, x: Tensor, y: Tensor) -> Any:
        """Compute the loss of *x* in evaluation mode, and change nothing."""
        return super().evaluate(self._shaped(x), y)

    def _accumulate_eagerly(self, x: Tensor, y: Tensor) -> Any:
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()
        return self._accumulate(x, y)

    def _shaped(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=self._memory_format) if x.dim() == 4 else x

    def _forward(self, model: nn.Module, x: Tensor) -> Tensor:
        enabled = self._dtype is not None
        run = self._run if model is self.model else model
        with torch.autocast("cuda", dtype=self._dtype or torch.bfloat16, enabled=enabled):
            logits: Tensor = run(x)
        return logits

    def _differentiate(self, loss: Tensor) -> None:
        self._scaler.scale(loss).backward()

    def _update(self) -> None:
        if self._spec.optimizer.clips or self._clipped_together:
            self._scaler.unscale_(self.optimizer)
        self._clip()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._follow()

    def state_dict(self) -> Dict[str, Any]:
        """Copy the state to the host, including the loss scale."""
        return {**super().state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        super().load_state_dict(state)
        self._scaler.load_state_dict(state.get("scaler", {}))  # a pack has none, and needs none

    def memory_peak_bytes(self) -> int:
        """Return the peak memory of tensors on the GPU of any replica."""
        peak = int(torch.cuda.max_memory_allocated(self.device))
        return peak if self._group is None else self._group.largest(peak)


def prefers_channels_last(spec: JobSpec) -> bool:
    """Return whether to use channels-last: for half precision, if layers keep it."""
    return spec.precision in _HALF and spec.normalizer.keeps_channels_last


def _make_scaler(enabled: bool) -> Any:
    if hasattr(torch.amp, "GradScaler"):  # since torch 2.3
        return torch.amp.GradScaler("cuda", enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)


@contextmanager
def _kernels(spec: JobSpec) -> Iterator[None]:
    # Exactly what was requested: a resumed job computes in the same way as before.
    with ExitStack() as stack:
        try:
            stack.enter_context(engine_triton.triton_kernels(spec.acceleration in IN_TRITON))
        except DeviceUnavailable as e:
            raise DeviceUnavailable(f"acceleration {spec.acceleration!r}: {e}") from e
        yield


@contextmanager
def backend_of(spec: JobSpec) -> Iterator[None]:
    """Set the options of the whole process, and restore them on exit."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    # deterministic products need a fixed workspace size, which cuBLAS reads at its start
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    matmul.allow_tf32 = cudnn.allow_tf32 = spec.tf32
    cudnn.benchmark = not spec.deterministic
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
