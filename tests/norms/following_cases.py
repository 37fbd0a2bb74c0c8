"""What follows a norm, on the Triton kernels and in plain operators."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import engine_triton, make, plain_operators
from normlab.norms.following import Following
from normlab.norms.per_sample import GroupNorm
from tests.norms.kernel_cases import KNOWN

Both = Tuple[Tensor, Tensor]  # found with kernels and without

_NUMBERS = torch.tensor([0.5, -0.25, 0.0], device="cpu")
FOLLOWS: Dict[str, Following] = {
    "relu": Following("relu"),
    "silu": Following("silu"),
    "gelu": Following("gelu"),
    "a floor": Following(floor=_NUMBERS),
    "silu and a proxy": Following("silu", scale=_NUMBERS, shift=_NUMBERS + 1),
    "a limit": Following(limit=torch.tensor([0.5], device="cpu")),
}
_INF = float("inf")


def mapped(follows: str) -> Both:
    """Return the map of difficult values, which is the identity, and what follows."""
    x, one, zero, _ = _difficult()
    following = FOLLOWS[follows]
    with engine_triton.triton_kernels(True, "cpu"):
        fused: Tensor = _kernels().affine(x, one, zero, zero.abs(), following)
    # in float32, torch's GELU of infinity is NaN in some places of a tensor
    wide = following.with_tensors(*(t.double() for t in following.tensors()))
    return fused, wide.apply(x.double()).float()


def gradients(follows: str) -> List[Both]:
    """Return the gradients of the map of difficult values, and of the numbers that follow."""
    x, one, zero, g = _difficult()
    following = FOLLOWS[follows]
    found = [t.clone().requires_grad_() for t in (x, *following.tensors())]
    following.with_tensors(*found[1:]).apply(found[0]).backward(g)
    nothing = torch.zeros_like(one)
    with engine_triton.triton_kernels(True, "cpu"):
        gx = _kernels().combine(x, g, nothing, one, nothing, nothing, following, zero)
        sums = _kernels().two_dots(g, x, nothing, following, one, zero)
    fused = [gx.nan_to_num(7.0), *(s.sum(0) for s in sums[2:])]
    plain = [t.grad for t in found]
    plain[0] = torch.where(x.isfinite(), plain[0], x * 0).nan_to_num(7.0)
    return [(a, b) for a, b in zip(fused, plain) if b is not None]


def second_derivatives(kind: str) -> List[Both]:
    """Return derivatives of the gradients of a layer with an activation."""
    fused, plain = (_squared_gradients(kind, on) for on in (True, False))
    return list(zip(fused, plain))


def has_the_same_bits_without_a_graph() -> bool:
    """Return whether a forward under no_grad has the same output."""
    layer, x = make("switchable", 3, "gelu"), _data()
    with engine_triton.triton_kernels(True, "cpu"):
        with torch.no_grad():
            alone = layer(x)
        return torch.equal(alone, layer(x))


def seen_by_a_hook() -> Both:
    """Return what a hook of a norm sees, and the output of the layer."""
    layer, seen = make("rms", 3, "relu"), []
    layer.norm.register_forward_hook(lambda module, given, y: seen.append(y))
    with engine_triton.triton_kernels(True, "cpu"):
        y = layer(_data())
    return seen[0].detach(), y.detach()


def of_an_author(extended: str) -> Both:
    """Return the output of a norm that computes more than the one that it extends."""
    layer = make({"kind": "group", "groups": 1, "grouping": "strided"}, 3, "gelu")
    layer.norm.__class__ = AUTHORS[extended]
    return _with_and_without(layer)


def replaced_in_one_norm(method: str) -> Both:
    """Return the output of a norm one of whose methods another library replaced."""
    layer = make({"kind": "group", "groups": 1, "grouping": "strided"}, 3, "gelu")
    own = getattr(layer.norm, method)
    setattr(layer.norm, method, lambda *given: 2 * own(*given))
    return _with_and_without(layer)


def following_after_a_failure() -> Optional[Following]:
    """Return what follows a norm after it refused an input."""
    layer: Any = make("instance", 3, "relu")
    with engine_triton.triton_kernels(True, "cpu"):
        try:
            layer(torch.zeros(2, 3, 1, 1, device="cpu"))
        except InvalidSpec:
            found: Optional[Following] = layer.norm.following
            return found
    raise AssertionError("the norm has to refuse one position")


class _Doubled(GroupNorm):
    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        return 2 * super().normalize(x, weight, bias)


class _DoubledWith(GroupNorm):
    def normalize_with(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        return 2 * super().normalize_with(x, weight, bias)


class _DoubledCall(GroupNorm):
    def __call__(self, x: Tensor) -> Any:
        return 2 * super().__call__(x)


AUTHORS = {"normalize": _Doubled, "normalize_with": _DoubledWith, "__call__": _DoubledCall}


def _with_and_without(layer: nn.Module) -> Both:
    with engine_triton.triton_kernels(True, "cpu"):
        fused = layer(_data()).detach()
    return fused, layer(_data()).detach()


def _squared_gradients(kind: str, on: bool) -> List[Tensor]:
    torch.manual_seed(0)
    spec, activation = KNOWN[kind]
    layer: nn.Module = make(spec, 8, activation or "silu")
    if not on:
        plain_operators(layer)
    x = torch.randn(3, 8, 2, 3, device="cpu", requires_grad=True)
    with engine_triton.triton_kernels(on, "cpu"):
        y = layer(x)
        inputs = (x, *layer.parameters())
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        total = sum(t.square().sum() for t in first)
        return list(torch.autograd.grad(total, inputs))


def _difficult() -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return values, a scale of 1, a shift of -0 (both for each channel), and a gradient."""
    values = torch.tensor([-0.0, 0.0, float("nan"), -_INF, _INF, -1.5, 0.5, -0.25], device="cpu")
    x = values.expand(2, 3, 8).contiguous()
    one = torch.ones(2, 3, device="cpu")
    return x, one, -torch.zeros_like(one), torch.arange(48.0, device="cpu").view(2, 3, 8) + 1


def _data() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(4, 3, 2, 5, device="cpu")


def _kernels() -> Any:
    from normlab.norms import triton_kernels

    return triton_kernels
