"""Packs on the host's processor, and what every kind of device does with them in the same way."""

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
    The CPU as a pack uses it.

    Args:
        spec: of a member; what it says of the device is the same for all.
        threads: of the pack, if the job does not set a number; None is one.

    Attributes:
        measures: whether a pack is compared with its members alone before it begins.
    """

    kind = "cpu"
    runtime = "packed"
    timing_valid = False  # its time is that of all members
    measures = False

    def __init__(self, spec: JobSpec, threads: Optional[int] = None) -> None:
        self.spec = spec
        self.threads = spec.threads or threads or 1

    def probe(self) -> Probe:
        """Describe the device."""
        return CpuAccelerator(self.threads).probe()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Set what the whole process computes with; restore it on exit."""
        with host_computation(self.threads, self.spec):
            yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate what torch raises."""
        with errors_in_our_words(self.spec):
            yield

    def place(self, x: Tensor) -> Tensor:
        """Return *x* where batches are taken from it."""
        return x

    @contextmanager
    def holding(self, model: nn.Module) -> Iterator[None]:
        """Hold a member's own *model* where its weights are looked at; on exit, on the host."""
        yield

    def session(self, nets: Sequence[nn.Module], specs: Sequence[JobSpec]) -> PackSession:
        """Train *nets*, which are held, as one network."""
        return PackSession(nets, specs)

    def alone(self, net: nn.Module, spec: JobSpec) -> Any:
        """Return a session of one job without others, to compare with; *net* is held."""
        raise NotImplementedError(f"{self.kind} compares nothing")

    def wait(self) -> None:
        """Return when the device has done what it was given."""

    def random_state(self) -> Any:
        """Return the state of torch's global random numbers."""
        return torch.get_rng_state()

    def set_random_state(self, state: Any) -> None:
        """Go on with a result of `random_state`."""
        torch.set_rng_state(state)

    def memory_peak_bytes(self) -> Optional[int]:
        """Return the peak memory of all members, which are in one process."""
        return resident_peak_bytes()
