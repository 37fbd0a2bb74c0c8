"""Packs on a GPU: either eager, or with the update of all members recorded as one graph."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from accelerators.cpu import host_computation
from accelerators.cpu_packs import CpuPacks
from accelerators.cuda import CudaAccelerator, CudaSession, backend_of, open_device
from accelerators.cuda_graph import GraphedStep
from normlab.errors import OutOfDeviceMemory
from normlab.specs.devices import GRAPHED
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe, StepResult
from normlab.training.packs.session import PackSession


def open_packs(spec: JobSpec, threads: Optional[int] = None) -> CudaPacks:
    """
    Open the first visible GPU for packs of jobs such as *spec*.

    Raises:
        DeviceUnavailable: torch sees no GPU.
        UnsupportedModel: *spec* asks for a recording, but its normalizer cannot be recorded.
    """
    open_device(spec, threads)  # raises an error if something is missing
    return CudaPacks(spec, threads, torch.device("cuda", 0))


class CudaPacks(CpuPacks):
    """
    A GPU for a pack.

    Args:
        spec: the spec of a member.
        threads: the threads for work on the host.
        device: the GPU.
    """

    kind = "cuda"
    measures = True

    def __init__(self, spec: JobSpec, threads: Optional[int], device: torch.device) -> None:
        super().__init__(spec, threads)
        self.device = device

    def probe(self) -> Probe:
        """Describe the GPU."""
        return CudaAccelerator(self.threads).probe()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Set the options of the whole process; restore them on exit."""
        torch.cuda.reset_peak_memory_stats(self.device)
        with backend_of(self.spec), host_computation(self.threads, self.spec):
            yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate torch's errors; a pack that does not fit is tried again as two packs."""
        try:
            with super().errors():
                yield
        except torch.cuda.OutOfMemoryError as e:
            first = str(e).split("\n", 1)[0]
            raise OutOfDeviceMemory(f"the pack does not fit into the GPU's memory ({first})") from e

    def place(self, x: Tensor) -> Tensor:
        """Return *x* on the GPU."""
        return x.to(self.device)

    @contextmanager
    def holding(self, model: nn.Module) -> Iterator[None]:
        """Hold *model* on the GPU; on exit, its weights are back on the host."""
        model.to(self.device)
        try:
            yield
        finally:
            model.to("cpu")

    def session(self, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> PackSession:
        """Train *nets*, which are on the GPU, as one network."""
        graphed = self.spec.acceleration in GRAPHED
        return GraphedPackSession(nets, specs) if graphed else PackSession(nets, specs)

    def alone(self, net: nn.Module, spec: JobSpec) -> Any:
        """Return a session of one job alone; *net* is on the GPU."""
        return CudaSession(net, spec, self.device)

    def wait(self) -> None:
        """Wait until the GPU has finished its work."""
        torch.cuda.synchronize(self.device)

    def random_state(self) -> Any:
        """Return the state of torch's global random numbers, on the host and on the GPU."""
        return torch.get_rng_state(), torch.cuda.get_rng_state(self.device)

    def set_random_state(self, state: Any) -> None:
        """Continue with a result of `random_state`."""
        torch.set_rng_state(state[0])
        torch.cuda.set_rng_state(state[1], self.device)

    def memory_peak_bytes(self) -> int:
        """Return the peak memory of the tensors of all members on the GPU."""
        return int(torch.cuda.max_memory_allocated(self.device))


class GraphedPackSession(PackSession):
    """
    A pack whose update is recorded once and replayed, in one launch for any number of members.

    The recording contains forward, backward, clipping and the change of the weights. Values that
    differ between updates are in tensors that keep their addresses: samples, classes, the members'
    rates, and corrections of an optimizer that depend on the number of the update. A pack that has
    lost a member gets a new session, which records the smaller network.
    """

    def __init__(self, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> None:
        super().__init__(nets, specs)
        self._graphed = GraphedStep(self._step)

    def close(self) -> None:
        """Delete the recording, which holds the memory of a whole update."""
        self._graphed = GraphedStep(self._step)

    def _step(self, x: Tensor, y: Tensor) -> StepResult:
        losses, correct = super()._update(x, y)
        return StepResult(losses, correct, self._losses.predictions(y[0]))

    def _update(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        found = self._graphed(x, y)
        return found.loss, found.correct
