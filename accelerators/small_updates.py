"""Settings for updates so small that calls and page faults cost more than the arithmetic.

torch uses oneDNN for each batch of more than one sample. It is fast for large convolutions, but
each call needs about 50 microseconds to reorder its operands and to find its code. torch's own
form, one matrix product per sample, needs a few microseconds. And the C library's heap can keep
its memory, so that each update reuses that of the last one.
"""

from __future__ import annotations

import ctypes
import platform
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Iterator

import torch
from torch import nn

from normlab.specs.costs import FEW_PRODUCTS, convolution_products
from normlab.specs.jobs import JobSpec

_torch: Any = torch._C  # the public switch warns about missing devices
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_NEVER = -1
_LARGEST_BLOCK_BYTES = 32 * 2**20  # glibc's maximum: larger tensors are mapped separately


def suit(model: nn.Module, spec: JobSpec) -> bool:
    """
    Return whether lean convolutions are faster for the updates of *spec*.

    Only the specification and the network decide, so that every attempt computes the same bits.
    """
    products = convolution_products(spec)
    if products is None or products > FEW_PRODUCTS or spec.precision != "float32":
        return False
    return all(  # torch's own form computes one group after another
        layer.groups == 1 for layer in model.modules() if isinstance(layer, nn.modules.conv._ConvNd)
    )


@contextmanager
def lean_convolutions(on: bool) -> Iterator[None]:
    """Compute without oneDNN if *on*; restore the setting afterwards."""
    before: bool = _torch._get_mkldnn_enabled()
    _torch._set_mkldnn_enabled(before and not on)
    try:
        yield
    finally:
        _torch._set_mkldnn_enabled(before)


@lru_cache(None)
def keep_freed_memory() -> bool:
    """
    Keep freed memory in this process until it ends; return whether that worked.

    By default, glibc may return the top of the heap to the system after a backward pass and request
    it again in the next forward pass, with hundreds of page faults in each update of a small
    network. With this setting, the process keeps about its peak memory. Other C libraries are not
    changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept: bool = mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES) == 1
    return kept and mallopt(_M_TRIM_THRESHOLD, _NEVER) == 1
