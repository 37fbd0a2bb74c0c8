"""Convolutions without oneDNN, for updates so small that its calls cost more than the arithmetic.

torch uses oneDNN for each batch of more than one sample. It is fast for large convolutions, but
each call needs about 50 microseconds to reorder its operands and to find its code. torch's own
form, one matrix product per sample, needs a few microseconds.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import torch
from torch import nn

from normlab.specs.costs import FEW_PRODUCTS, convolution_products
from normlab.specs.jobs import JobSpec

_torch: Any = torch._C  # the public switch warns about missing devices


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
