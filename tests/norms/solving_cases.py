"""Several training steps on the Triton kernels and without them, and kernels of the solve step."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import engine_triton, make, plain_operators, set_training_progress
from normlab.norms.sparsestmax_numbers import project
from normlab.training.packs.packing import pack
from tests.norms.kernel_cases import KNOWN

Numbers = List[List[float]]


def after_steps(kind: str, device: str = "cpu") -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
    """Train twice on each of three weights; return the state, and that without kernels."""
    states = []
    for on in (True, False):
        layer = _layer(kind).to(device)
        if not on:
            plain_operators(layer).double()
        with engine_triton.triton_kernels(on, device):
            _train(layer)
        states.append({k: v.double().cpu() for k, v in layer.state_dict().items()})
    return states[0], states[1]


def frozen(device: str = "cpu") -> Dict[str, Tensor]:
    """Train a sparse layer to the end of a run; return its state."""
    layer = make("sparse_switchable", 8).to(device)
    logits = torch.tensor([1.0, 3.0, 2.0], device=device)
    with torch.no_grad():
        layer.mean_weight.copy_(logits)
        layer.var_weight.copy_(logits)
    with engine_triton.triton_kernels(True, device):
        _train(layer)
    return {k: v.cpu() for k, v in layer.state_dict().items()}


def projected(logits: Numbers, radius: float, variant: str) -> Tuple[Any, Any]:
    """Return SparsestMax and its derivatives of two sets of logits, by kernels and in numbers."""
    from normlab.norms import triton_kernels

    both = tuple(torch.tensor(z, device="cpu") for z in logits)
    free = tuple(torch.tensor(False, device="cpu") for _ in logits)
    with engine_triton.triton_kernels(True, "cpu"):
        found = triton_kernels.sparsestmax(both, free, torch.tensor(radius), variant)
    right = [project(z.tolist(), float(torch.tensor(radius)), variant) for z in both]
    return found, tuple(torch.tensor(t, device="cpu") for t in zip(*right))


def second_derivative_of_streaming() -> str:
    """Return why a gradient of a gradient of streamed statistics is refused."""
    layer = make("streaming", 8, "relu", 1)
    x = torch.randn(3, 8, 4, device="cpu", requires_grad=True)
    with engine_triton.triton_kernels(True, "cpu"):
        (gx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        try:
            gx.square().sum().backward()
        except InvalidSpec as e:
            return str(e)
    return ""


def after_steps_of_a_pack() -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
    """Train two members side by side, one of which overflows once; return the same two states."""
    states = []
    for on in (True, False):
        torch.manual_seed(1)
        layer = pack([make({"kind": "batch", "virtual_batch_size": 2}, 3, "relu") for _ in "ab"])
        with engine_triton.triton_kernels(on, "cpu"):
            for i in range(2):
                x = torch.randn(4, 6, 2, 3, device="cpu")
                x[0, 0] = float("inf") if i == 1 else 0.0
                layer(x)
        states.append(dict(layer.named_buffers()))
    return states[0], states[1]


def gradients_of_a_pack(activation: str) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
    """Train two members of `dyt` with different slopes; return the gradients, twice."""
    found = []
    for on in (True, False):
        torch.manual_seed(1)
        members: List[Any] = [make("dyt", 3, activation) for _ in "ab"]
        members[1].norm.alpha.data.fill_(2.0)
        layer = pack(members)
        with engine_triton.triton_kernels(on, "cpu"):
            layer(torch.randn(4, 6, 2, 3, device="cpu")).square().sum().backward()
        found.append({n: p.grad for n, p in layer.named_parameters() if p.grad is not None})
    return found[0], found[1]


def gradient_of_a_lost_eps() -> Tensor:
    """Return the gradient of a learned eps that is NaN."""
    layer: Any = make({"kind": "filter_response", "learned_eps": True}, 3, "relu")
    with torch.no_grad():
        layer.norm.learned_eps.fill_(float("nan"))
    with engine_triton.triton_kernels(True, "cpu"):
        layer(torch.randn(2, 3, 2, 5, device="cpu")).sum().backward()
    found: Tensor = layer.norm.learned_eps.grad
    return found


def of_a_lost_gate(value: float) -> Tuple[List[Tensor], List[Tensor]]:
    """Return output and gradients if a gate of `meta` is *value*, with kernels and without."""
    found: List[List[Tensor]] = []
    for on in (True, False):
        torch.manual_seed(0)
        layer: Any = make({"kind": "meta", "samples": "batch", "channels": "learned"}, 4)
        with torch.no_grad():
            layer.channel_gates[1] = value
        x = torch.randn(3, 4, 2, 5, device="cpu", requires_grad=True)
        with engine_triton.triton_kernels(on, "cpu"):
            y = layer(x)
            y.square().sum().backward()
        found.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
    return found[0], found[1]


def launches_of(
    kind: str, shape: Tuple[int, ...] = (4, 8, 3, 5), training: bool = True
) -> Tuple[int, int]:
    """Return the launches of torch and of Triton in a step, forward and backward."""
    from benchmarks import kernel_launches
    from benchmarks.norms import step_of

    layer = _layer(kind, max(1, len(shape) - 2)).train(training)
    x = torch.randn(shape, device="cpu", requires_grad=True)
    with engine_triton.triton_kernels(True, "cpu"):
        return kernel_launches.launches(step_of(layer, x, torch.ones_like(x)), layer)


def _layer(kind: str, dims: int = 2) -> nn.Module:
    torch.manual_seed(0)
    spec, activation = KNOWN[kind]
    return make(spec, 8, activation, dims)


def _train(layer: nn.Module) -> None:
    torch.manual_seed(1)
    like = next(layer.parameters())
    for i in range(6):
        set_training_progress(layer, i / 5)
        x, g = (torch.randn(4, 8, 3, 5, device="cpu").to(like) for _ in range(2))
        (layer((x + i).requires_grad_(i != 2)) * g).sum().backward()
        if i % 2:
            with torch.no_grad():
                for p in (p for p in layer.parameters() if p.grad is not None):
                    p.sub_(0.1 * p.grad)
                    p.grad = None
