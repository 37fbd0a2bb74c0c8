"""The host's own processor: float32, and bfloat16 where operators have it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import contextmanager
from typing import Iterator, Optional

import torch
from torch import nn

from accelerators.torch_session import TorchSession
from normlab.errors import OutOfDeviceMemory, UnsupportedModel
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe


def open_device(spec: JobSpec, threads: Optional[int] = None) -> CpuAccelerator:
    """
    Open the CPU for one job.

    Raises:
        UnsupportedModel: the job asks for what a CPU does not do.
    """
    if spec.replicas > 1:
        raise UnsupportedModel(
            f"replicas={spec.replicas}: this version trains one replica on a CPU; use "
            f"gradient_accumulation={spec.gradient_accumulation * spec.replicas} and replicas=1 "
            "for the same samples per update"
        )
    if spec.precision == "float16":
        raise UnsupportedModel("precision 'float16' is for cuda and ipu; on cpu use 'bfloat16'")
    return CpuAccelerator(spec.threads or threads)


class CpuAccelerator:
    """
    The CPU.

    Args:
        threads: for torch's operators; None leaves torch's own choice, one a core.
    """

    kind = "cpu"
    runtime = "cpu"
    timing_valid = True

    def __init__(self, threads: Optional[int] = None) -> None:
        self.threads = threads

    def probe(self) -> Probe:
        """Describe the processor; it is always there."""
        return Probe(
            available=True,
            reason="every host has one",
            description=_processor(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            versions={"torch": torch.__version__, "python": platform.python_version()},
        )

    @contextmanager
    def session(self, model: nn.Module, spec: JobSpec) -> Iterator[TorchSession]:
        """Train *model* where it is, on so many threads, and with a fixed order of sums."""
        with host_computation(self.threads, spec):
            yield _CpuSession(model, spec, torch.device("cpu"))


class _CpuSession(TorchSession):
    def memory_peak_bytes(self) -> int:
        """Return the most memory that the process has had."""
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def host_computation(threads: Optional[int], spec: JobSpec) -> Iterator[None]:
    """Compute on so many threads and as deterministically as *spec* says, then as before."""
    threads_before, deterministic = torch.get_num_threads(), _deterministic()
    torch.set_num_threads(threads or threads_before)
    _set_deterministic(spec.deterministic)
    try:
        yield
    except RuntimeError as e:
        if "can't allocate memory" not in str(e):
            raise
        raise OutOfDeviceMemory(
            f"the host has not enough memory at batch_size={spec.batch_size}; lower it ({e})"
        ) from e
    finally:
        torch.set_num_threads(threads_before)
        _set_deterministic(deterministic)


def _deterministic() -> bool:
    return torch.are_deterministic_algorithms_enabled()


def _set_deterministic(on: bool) -> None:
    torch.use_deterministic_algorithms(on)
    # Since torch 2.2 this mode also fills every new tensor, which we never read unwritten.
    settings = getattr(torch.utils, "deterministic", None)
    if settings is not None:
        settings.fill_uninitialized_memory = not on


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
