"""Every kind and variant with state, in small networks."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from normlab.norms import make, set_training_progress

_STEPS = {"warmup_steps": 1, "r_steps": 5, "d_steps": 4}

SPECS: Dict[str, Dict[str, Any]] = {
    "batch": {"kind": "batch"},
    "batch, all averaged": {"kind": "batch", "momentum": None},
    "batch, ghosts": {"kind": "batch", "virtual_batch_size": 2},
    "batch, proxy": {"kind": "batch", "proxy": True},
    "renorm": {"kind": "batch_renorm", "clipping": "constant", "momentum": 0.1},
    "renorm, steps": {"kind": "batch_renorm", "clipping": "steps", "momentum": 0.1, **_STEPS},
    "renorm, keras": {"kind": "batch_renorm", "variant": "keras", "momentum": 0.1, **_STEPS},
    "renorm, ludvb": {"kind": "batch_renorm", "variant": "ludvb", "clipping": "none"},
    "renorm, ghosts": {"kind": "batch_renorm", "virtual_batch_size": 2, **_STEPS},
    "renorm, all averaged": {"kind": "batch_renorm", "momentum": None, "clipping": "none"},
    "streaming": {"kind": "streaming"},
    "streaming, ghosts": {"kind": "streaming", "virtual_batch_size": 2},
    "streaming, proxy": {"kind": "streaming", "proxy": True},
    "l1": {"kind": "l1_batch"},
    "l1, as published": {"kind": "l1_batch", "running": "reference"},
    "linf": {"kind": "linf_batch"},
    "topk": {"kind": "topk_batch", "k": 3, "virtual_batch_size": 2},
    "online": {"kind": "online", "alpha_forward": 0.9, "alpha_backward": 0.8},
    "online, clamp": {"kind": "online", "error_compensation": "clamp"},
    "switchable": {"kind": "switchable"},
    "switchable, all averaged": {"kind": "switchable", "running": "average"},
    "sparse": {"kind": "sparse_switchable", "momentum": 0.1},
    "sparse, ghosts": {"kind": "sparse_switchable", "virtual_batch_size": 2, "radius": 0.3},
    "meta": {"kind": "meta", "samples": "batch"},
    "meta, all learned": {"kind": "meta", "samples": "learned"},
}
ONLINE = [name for name in SPECS if name.startswith("online")]
every_spec = pytest.mark.parametrize("name", SPECS)


def layer_of(name: str) -> nn.Module:
    """Build one layer in float64, without an activation."""
    return make({**SPECS[name], "proxy": False}, 8).double()


def net_of(name: str) -> nn.Sequential:
    """Build a network of two layers of one kind, in float64."""
    torch.manual_seed(0)
    parts: List[nn.Module] = [nn.Conv2d(3, 8, 3), make(SPECS[name], 8, "relu")]
    parts += [nn.Conv2d(8, 8, 1), make(SPECS[name], 8, "relu"), nn.Conv2d(8, 2, 1)]
    return nn.Sequential(*parts).double()


def state_of(net: nn.Module) -> Dict[str, Tensor]:
    """Return all parameters, their gradients and all buffers, also those that are never saved."""
    found = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    found.update({f"{k}.grad": p.grad for k, p in net.named_parameters() if p.grad is not None})
    return {name: value.detach().clone() for name, value in found.items()}


def assert_equal(a: Dict[str, Tensor], b: Dict[str, Tensor]) -> None:
    """Compare two states, bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def twins(name: str) -> Tuple[nn.Sequential, nn.Sequential]:
    """Build the same network twice."""
    net = net_of(name)
    return net, copy.deepcopy(net)


def train_in_parts(net: nn.Sequential, run: Callable[[Tensor], Tensor]) -> Dict[str, Tensor]:
    """Make three updates with two backward passes each; return all state and gradients."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    inputs: Dict[str, Tensor] = {}
    for step in range(3):
        set_training_progress(net, step / 3)
        optimizer.zero_grad()
        for part in range(2):
            x = torch.randn(5, 3, 6, 6).double() * (1 + step) + part
            y = run(x.requires_grad_())
            (y * torch.randn(y.shape).double()).sum().backward()
            assert x.grad is not None
            inputs[f"input {step}, {part}"] = x.grad
        optimizer.step()
    return {**state_of(net), **inputs}
