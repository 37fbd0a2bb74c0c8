"""Every kind of normalizer as a layer, for the laws of the family."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
import torch
from torch import Tensor, nn

from normlab import norms
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND

KINDS = list(norms.LAYERS)
OPTIONS: Dict[str, Dict[str, Any]] = {
    "group": {"groups": 2},
    "topk_batch": {"k": 3},
    "meta": {"samples": "batch"},
    "evonorm_s0": {"groups": 2},
}
BRINGS = {"evonorm_s0": "relu"}  # what is an activation as well, and without one just an affine
STATELESS = [k for k in KINDS if not BY_KIND[k].stateful]
SAMPLE_ALONE = [k for k in STATELESS if not BY_KIND[k].batch_dependent]
TAKES_PROXY = [k for k in KINDS if "proxy" in BY_KIND[k].model_fields]
BATCH_DEPENDENT = [k for k in KINDS if BY_KIND[k].batch_dependent]
HAS_PLAIN = [k for k in KINDS if k != "online"]  # its backward pass is not a gradient
VIRTUAL = [k for k in KINDS if "virtual_batch_size" in BY_KIND[k].model_fields]
# A sample affects only later samples, in the order of the batch.
IN_ORDER = ["online"]

every_kind = pytest.mark.parametrize("kind", KINDS)


def spec(kind: str, **more: Any) -> Dict[str, Any]:
    return {"kind": kind, **OPTIONS.get(kind, {}), **more}


def layer_of(kind: str, channels: int = 8, **more: Any) -> nn.Module:
    """Build a layer whose parameters and state are not the initial ones."""
    torch.manual_seed(7)
    dims = more.pop("dims", 2)
    layer = make(spec(kind, **more), channels, BRINGS.get(kind), dims)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "gate" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in layer.named_buffers():
            if name in ("running_mean", "mu"):
                buffer.uniform_(-0.2, 0.2)
    return layer


def shape(dims: int, n: int = 4, c: int = 8) -> List[int]:
    return [n, c, *[[6], [5, 3], [3, 2, 4]][dims - 1]]


# What takes its statistics over the positions of one channel of one sample.
OVER_POSITIONS = ("instance", "filter_response")


def run(layer: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    return y.detach(), x.grad
