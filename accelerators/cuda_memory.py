"""What to do when a batch does not fit into a GPU's memory: the batch sizes that would fit."""

from __future__ import annotations

import re

import torch
from torch import nn

from normlab.specs.jobs import JobSpec

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def batch_that_fits(batch_size: int, total: int, fixed: int, wanted: int) -> int:
    """
    Estimate the largest batch size that fits, as a power of two; 0 if not even one sample fits.

    Activations grow with the batch; weights and optimizer do not. If *wanted* bytes are needed at
    *batch_size*, of which *fixed* do not grow, B samples need fixed + (wanted - fixed) B / b.

    Args:
        batch_size: b, which did not fit.
        total: the bytes of the device.
        fixed: the bytes of weights, gradients and optimizer.
        wanted: the bytes in use at the failure, plus the failed allocation.
    """
    growing = max(wanted - fixed, 1)
    largest = int(max(total - fixed, 0) * batch_size / growing)
    largest = min(largest, batch_size - 1)
    return 1 << (largest.bit_length() - 1) if largest > 0 else 0


def bytes_asked_for(message: str) -> int:
    """Parse the size of the failed allocation from torch's *message*; 0 if it is missing."""
    found = re.search(r"Tried to allocate ([\d.]+) (bytes|[KMG]iB)", message)
    if found is None:
        return 0
    return int(float(found[1]) * _UNITS[found[2]])


def explain(error: Exception, model: nn.Module, spec: JobSpec, device: torch.device) -> str:
    """Say in the words of a job why *error* came, and which batch size would fit."""
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    total = torch.cuda.get_device_properties(device).total_memory
    asked_for = max(bytes_asked_for(str(error)), total // 4)  # later allocations are unknown
    fits = batch_that_fits(spec.batch_size, total, 4 * parameters, total + asked_for)
    way_out = f"try batch_size={fits}" if fits else "no batch size would fit; take a smaller model"
    if fits and spec.batch_size % fits == 0:
        factor = spec.batch_size // fits * spec.gradient_accumulation
        way_out += f" with gradient_accumulation={factor} for the same samples per update"
    first = str(error).split("\n", 1)[0]
    size = f"{total / 2**30:.1f} GiB"
    return f"batch_size={spec.batch_size} does not fit into {size}: {way_out} ({first})"
