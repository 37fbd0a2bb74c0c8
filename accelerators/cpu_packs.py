"""Packs on the host's processor, and the behaviour of packs that all kinds of device share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Optional, Sequence

import torch
from torch import Tensor, nn

from accelerators.cpu import (
    CpuAccelerator,
    errors_in_our_words,
    host_computation,
    resident_peak_bytes,
)
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe
from normlab.training.packs.session import PackSession


def open_packs(spec: JobSpec, threads: Optional[int] = None) -> CpuPacks:
    """Open the CPU for packs of jobs such as *spec*."""
    return CpuPacks(spec, threads)


class CpuPacks:
    """
    The CPU for a pack.

    Args:
        spec: the spec of a member; all members have the same options of the device.
        threads: the threads of the pack, if the job does not set a number; None is one.

    Attributes:
        measures: whether a pack is compared with its members alone before it begins.
    """

    kind = "cpu"
    runtime = "packed"
    timing_valid = False  # the time of an update is that of all members
    measures = False

    def __init__(self, spec: JobSpec, threads: Optional[int] = None) -> None:
        self.spec = spec
        self.threads = spec.threads or threads or 1

    def probe(self) -> Probe:
        """Describe the device."""
        return CpuAccelerator(self.threads).probe()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Set the options of the whole process; restore them on exit."""
        with host_computation(self.threads, self.spec):
            yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate torch's errors."""
        with errors_in_our_words(self.spec):
            yield

    def place(self, x: Tensor) -> Tensor:
        """Return *x* on the device from whose memory batches are taken."""
        return x

    @contextmanager
    def holding(self, model: nn.Module) -> Iterator[None]:
        """Keep a member's own *model* on the device; on exit, it is back on the host."""
        yield

    def session(self, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> PackSession:
        """Train *nets*, which are on the device, as one network."""
        return PackSession(nets, specs)

    def alone(self, net: nn.Module, spec: JobSpec) -> Any:
        """Return a session of one job alone, to compare with; *net* is on the device."""
        raise NotImplementedError(f"{self.kind} compares nothing")

    def wait(self) -> None:
        """Wait until the device has finished its work."""

    def random_state(self) -> Any:
        """Return the state of torch's global random numbers."""
        return torch.get_rng_state()

    def set_random_state(self, state: Any) -> None:
        """Continue with a result of `random_state`."""
        torch.set_rng_state(state)

    def memory_peak_bytes(self) -> Optional[int]:
        """Return the peak memory of all members, which are in one process."""
        return resident_peak_bytes()
