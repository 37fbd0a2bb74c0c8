"""Online Normalization on the Triton kernels, step after step, and by its definition."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Dict, Iterator, List, Optional, Tuple
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from normlab.errors import Conflict, InvalidSpec
from normlab.norms import engine_triton, make
from normlab.norms.online import OnlineNorm
from normlab.training.packs.packing import pack
from tests.norms.kernel_cases import KNOWN
from tests.norms.online_loop import STATE, perturbed

Step = Dict[str, Tensor]

_PASSES = ("moments", "affine", "two_dots", "combine")  # over data

CHANNELS = 40  # more than a program of the scan takes
OPTIONS: Dict[str, Dict[str, Any]] = {
    "layer_scaling": {},
    "groups": {"layer_scaling_group_size": 5},
    "clamp": {"error_compensation": "clamp", "clamp_value": 0.7},
    "none": {"error_compensation": "none"},
    "short memory": {"alpha_forward": 0.6, "alpha_backward": 0.7},
    "without an affine": {"affine": False},
}
SHAPES = {
    "maps": (3, CHANNELS, 3, 5),
    "vectors": (7, CHANNELS),
    "one position": (3, CHANNELS, 1, 1),
    "one map": (1, CHANNELS, 3, 5),
    "one vector": (1, CHANNELS),
}


def steps(
    options: str, shape: str, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Tuple[List[Step], List[Step]]:
    """Return what each of five steps computes and leaves, by kernels and in float64 without."""
    found = []
    for on in (True, False):
        layer = _layer(options, device)
        if not on:
            layer.double()
        with engine_triton.triton_kernels(on, device):
            data = _data(shape, dtype, device)
            found.append([_step(layer, *(t if on else t.double() for t in two)) for two in data])
    return found[0], found[1]


def with_a_value(at: str, value: float, options: str = "layer_scaling") -> Tuple[Step, Step, Step]:
    """Return three steps, the second of which has *value* once, in sample 1 of x or of g."""
    layer = _layer(options)
    data = list(_data("maps", torch.float32, "cpu"))
    data[1]["xg".index(at)][1, 2, 0, 0] = value
    with engine_triton.triton_kernels(True, "cpu"):
        first, second, third = (_step(layer, x, g) for x, g in data[:3])
    return first, second, third


def pack_with_infinity() -> Tuple[Step, Step]:
    """Train two members side by side, one of which overflows; return the states with kernels."""
    states = []
    for on in (True, False):
        torch.manual_seed(1)
        layer = pack([make("online", 3), make("online", 3)])
        x, g = (torch.randn(4, 6, 2, 3, device="cpu") for _ in range(2))
        x[2, 1] = float("inf")
        with engine_triton.triton_kernels(on, "cpu"):
            _step(layer, x, g)
        states.append(dict(layer.named_buffers()))
    return states[0], states[1]


def refused(how: str) -> str:
    """Return why two backwards of one forward, or a second derivative, are refused."""
    layer = _layer("layer_scaling")
    x = torch.randn(2, CHANNELS, 3, 5, device="cpu", requires_grad=True)
    with engine_triton.triton_kernels(True, "cpu"):
        (gx,) = torch.autograd.grad(
            y := layer(x).square().sum(), x, create_graph=how == "derivative", retain_graph=True
        )
        try:
            (gx.square().sum() if how == "derivative" else y).backward()
        except (Conflict, InvalidSpec) as e:
            return str(e)
    return ""


def reads_by_the_host(options: str) -> int:
    """Return how many numbers a step reads from the device, outside of Triton's interpreter."""
    from benchmarks import kernel_launches

    layer, (x, g) = _layer(options), next(_data("maps", torch.float32, "cpu"))
    on = engine_triton.triton_kernels(True, "cpu")
    with on, kernel_launches._like_a_gpu(), profile(activities=[ProfilerActivity.CPU]) as found:
        _step(layer, x, g)
    events = [e for e in found.events() if e.name == "aten::_local_scalar_dense"]
    return sum(kernel_launches._IN_TRITON not in _parents(e) for e in events)


def reads_in_place(kind: str, dtype: torch.dtype) -> bool:
    """Return whether the passes over data in channels last read their memory itself."""
    from normlab.norms import triton_kernels

    layer, x = make(KNOWN[kind][0], 8), torch.randn(3, 8, 3, 5, device="cpu").to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    read: List[int] = []

    def noted(own: Any, place: int) -> Any:
        return lambda *given: read.append(given[place].data_ptr()) or own(*given)

    with engine_triton.triton_kernels(True, "cpu"), ExitStack() as patches:
        for name in _PASSES:
            one = noted(getattr(triton_kernels, name), 1 if name == "two_dots" else 0)
            patches.enter_context(mock.patch.object(triton_kernels, name, one))
        y = layer(x)
        y.backward(torch.ones_like(y))
    return read == [x.data_ptr()] * len(_PASSES)


def chosen_without_kernels() -> Tuple[str, bool]:
    """Return the module whose passes run, and whether kernels kept the state."""
    from normlab.norms import online, online_passes, online_triton

    layer, (x, g) = _layer("layer_scaling"), next(_data("maps", torch.float32, "cpu"))
    with mock.patch.object(online_triton, "keep", wraps=online_triton.keep) as kept:
        _step(layer, x, g)
    assert online._function_for(x) is online_passes.Normalize
    assert kept.call_count == 2  # mu and var, u and v
    return online._function_for(x).__module__, online_triton.keep((x, x), (x, x))


def _layer(options: str, device: str = "cpu") -> OnlineNorm:
    torch.manual_seed(0)
    chosen = {"alpha_forward": 0.9, "alpha_backward": 0.8, **OPTIONS[options]}
    if not chosen.get("affine", True):
        return OnlineNorm(CHANNELS, dims=2, **chosen).to(device)
    return perturbed(CHANNELS, torch.float32, **chosen).to(device)


def _data(shape: str, dtype: torch.dtype, device: str) -> Iterator[Tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    for i in range(5):
        x, g = (torch.randn(SHAPES[shape], device="cpu").to(device, dtype) for _ in range(2))
        yield 2 * x + i, g


def _step(layer: Any, x: Tensor, g: Tensor) -> Step:
    layer.any_dims = True
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    found = {"y": y.detach(), "gx": x.grad}
    for name, p in layer.named_parameters():
        assert p.grad is not None
        found[f"d {name}"], p.grad = p.grad, None
    buffers = dict(layer.named_buffers())
    found.update({n: buffers[n].clone() for n in (*STATE, "nonfinite_statistics") if n in buffers})
    return found


def _parents(event: Optional[Any]) -> List[str]:
    return [] if event is None else [event.name, *_parents(event.cpu_parent)]
