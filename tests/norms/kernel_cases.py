"""Steps of layers on the Triton kernels, compared with float64 without them."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import DeviceUnavailable
from normlab.norms import engine_triton, make, passes, plain_operators
from normlab.norms.finite import nonfinite_statistics
from normlab.norms.following import Following
from tests.norms.matrix import KINDS

PASSES = ("affine", "combine", "moments", "two_dots", "swished", "tanhed")
CHANNELS = 8
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Case(NamedTuple):
    """A training step of one layer."""

    kind: str  # of `matrix.KINDS` or `MORE`
    shape: Tuple[int, ...] = (3, CHANNELS, 3, 5)
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    affine: bool = True
    training: bool = True
    spoilt: float = 0.0  # of the first sample, if it is not 0
    activation: Optional[str] = None  # if the kind of `KINDS` has none


SOME = [
    "group, strided",
    "filter_response, thresholded",
    "batch_renorm",
    "meta, learned",
    "topk_batch",
    "online, clamp",
    "dyt",
    "evonorm_s0",
]
MORE: Dict[str, Tuple[Any, Optional[str]]] = {  # proxies by other rules and at other places
    "group, proxy by midpoints": (
        {"kind": "group", "groups": 2, "proxy": True, "quadrature": "midpoint200"},
        "relu",
    ),
    "rms, a channel each": ({"kind": "rms", "groups": CHANNELS}, None),
    "rms, proxy by midpoints": (
        {"kind": "rms", "proxy": True, "quadrature": "midpoint200"},
        "gelu",
    ),
    "switchable, proxy": ({"kind": "switchable", "proxy": True}, "silu"),
    "streaming, proxy": ({"kind": "streaming", "proxy": True}, "relu"),
    "meta, groups": ({"kind": "meta", "channels": "groups", "groups": 2}, None),
    "meta, own": ({"kind": "meta", "channels": "own"}, None),
    "meta, batch and groups": (
        {"kind": "meta", "samples": "batch", "channels": "groups", "groups": 2},
        None,
    ),
    "switchable, ghost batches": ({"kind": "switchable", "virtual_batch_size": 2}, None),
    "meta, ghost batches": (
        {
            "kind": "meta",
            "samples": "batch",
            "channels": "learned",
            "virtual_batch_size": 2,
        },
        None,
    ),
    "l1_batch, ghost batches": (
        {"kind": "l1_batch", "virtual_batch_size": 2, "constant": "one"},
        None,
    ),
    "linf_batch, ghost batches": (
        {"kind": "linf_batch", "virtual_batch_size": 2, "running": "reference"},
        None,
    ),
    "topk_batch, ghost batches": (
        {"kind": "topk_batch", "virtual_batch_size": 2, "k": 2, "constant": "consistent"},
        None,
    ),
    "topk_batch, the largest": ({"kind": "topk_batch", "k": 1}, None),
    "topk_batch, all of 45": ({"kind": "topk_batch", "k": 45, "momentum": None}, None),
    "topk_batch, proxy": ({"kind": "topk_batch", "proxy": True}, "relu"),
    "switchable, without batch": ({"kind": "switchable", "batch_statistics": False}, None),
    "evonorm_s0, one group": ({"kind": "evonorm_s0", "groups": 1}, "relu"),
    "evonorm_s0, a channel each": ({"kind": "evonorm_s0", "groups": CHANNELS}, "relu"),
    "sparse_switchable, unbiased": (
        {"kind": "sparse_switchable", "radius": 0.3, "unbiased_reference": True},
        None,
    ),
    "sparse_switchable, corner": ({"kind": "sparse_switchable", "radius": 0.81}, None),
}
KNOWN = {**KINDS, **MORE}
ROUNDING = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 3e-5, torch.float64: 1e-12}
VARIANTS: Dict[str, Dict[str, Any]] = {
    "positions of several blocks": {"shape": (1, 8, 35, 31)},
    "several blocks in channels last": {"shape": (2, 8, 11, 13), "channels_last": True},
    "one sample": {"shape": (1, 8, 3, 5)},
    "sequences": {"shape": (3, 8, 7)},
    "volumes in channels last": {"shape": (3, 8, 3, 2, 3), "channels_last": True},
    "values without positions": {"shape": (12, 8)},
    "float16": {"dtype": torch.float16},
    "bfloat16 in channels last": {"dtype": torch.bfloat16, "channels_last": True},
    "float64": {"dtype": torch.float64},
    "without an affine": {"affine": False},
    "evaluation": {"training": False},
}


class Found(NamedTuple):
    """The largest difference of each result, over its largest value, and how often passes ran."""

    differences: Dict[str, float]
    launches: int
    followed: int  # maps that include an activation, or what follows it
    kept_format: bool
    moved: bool  # whether the state changed, without the count of such batches
    skipped: int  # statistics that were not finite


def compared(case: Case, device: str = "cpu") -> Found:
    """Train a step on the kernels, and in float64 without them; "cpu" is Triton's interpreter."""
    torch.manual_seed(0)
    x, g = (torch.randn(case.shape, device="cpu").to(device, case.dtype) for _ in range(2))
    x = x + 1
    if case.spoilt:
        x[0, :, 1] = case.spoilt
    if case.channels_last:
        x = x.contiguous(memory_format=_FORMATS[x.dim()])
    reference, layer = layer_of(case).to(device).double(), layer_of(case).to(device)
    if case.dtype == torch.float64:
        layer.double()
    if not case.kind.startswith("online"):  # which has no plain form
        plain_operators(reference)
    right = _step(reference, x.double(), g.double())
    before = _state(layer)
    with engine_triton.triton_kernels(True, device), _Counted() as counted:
        found = _step(layer, x, g)
    return Found(
        {name: _difference(found[name], right[name]) for name in right},
        counted.launches,
        counted.followed,
        found["y"].stride() == x.stride() and found["gx"].stride() == x.stride(),
        any(not torch.equal(before[name], t) for name, t in _state(layer).items()),
        nonfinite_statistics(layer),
    )


def check(found: Found, dtype: torch.dtype) -> None:
    """Data are rounded to *dtype*, and everything else at least to float32."""
    for name, difference in found.differences.items():
        data = name in ("y", "gx") or dtype == torch.float64
        limit = ROUNDING[dtype] if data else ROUNDING[torch.float32]
        assert difference <= limit, (name, difference)


def moments_of(x: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the moments that the kernels find."""
    with engine_triton.triton_kernels(True, "cpu"):
        return passes.moments(passes.taken(x))


def is_taken_as_it_is(x: Tensor) -> bool:
    """Return whether the kernels read *x* without a copy."""
    with engine_triton.triton_kernels(True, "cpu"):
        return passes.taken(x) is x


def refused_for_a_gpu() -> str:
    """Return why the kernels are not loaded for a GPU in this process."""
    try:
        engine_triton.load("cuda")
    except DeviceUnavailable as e:
        return str(e)
    return ""


class _Counted:
    """Counts the calls of the passes."""

    launches = followed = 0

    def __enter__(self) -> _Counted:
        from normlab.norms import triton_kernels

        self._package: Any = triton_kernels
        self._own = {name: getattr(triton_kernels, name) for name in PASSES}
        for name, one in self._own.items():
            setattr(self._package, name, self._counting(one))
        return self

    def __exit__(self, *_: object) -> None:
        for name, one in self._own.items():
            setattr(self._package, name, one)

    def _counting(self, one: Any) -> Any:
        def call(*given: Any) -> Any:
            self.launches += 1
            maps = (self._own["affine"], self._own["tanhed"])
            self.followed += one in maps and any(isinstance(g, Following) for g in given)
            return one(*given)

        return call


def layer_of(case: Case) -> nn.Module:
    """Return the layer with parameters that are unlike each other."""
    spec, activation = KNOWN[case.kind]
    options = {"kind": spec} if isinstance(spec, str) else dict(spec)
    if not case.affine:
        options["affine"] = False
    torch.manual_seed(1)
    layer = make(options, CHANNELS, activation or case.activation, max(1, len(case.shape) - 2))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for name, gates in layer.named_parameters():
            if name.endswith("channel_gates"):
                gates[::2] *= -1  # some merge channels and some do not
    return layer.train(case.training)


def _step(layer: nn.Module, x: Tensor, g: Tensor) -> Dict[str, Optional[Tensor]]:
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    named: Dict[str, Optional[Tensor]] = {"y": y.detach(), "gx": x.grad}
    named.update({f"d {name}": p.grad for name, p in layer.named_parameters()})
    named.update(layer.named_buffers())
    return named


def _state(layer: nn.Module) -> Dict[str, Tensor]:
    return {n: b.clone() for n, b in layer.named_buffers() if n != "nonfinite_statistics"}


def _difference(found: Optional[Tensor], right: Optional[Tensor]) -> float:
    if right is None or right.numel() == 0:
        return 0.0 if found is None or found.numel() == 0 else float("inf")
    assert found is not None
    a, b = found.double(), right.double()
    unlike = (a.isfinite() != b.isfinite()) | (a.isnan() != b.isnan())
    if bool(unlike.any()):
        return float("inf")
    both = a.isfinite()
    if not bool(both.any()):
        return 0.0
    return float((a - b)[both].abs().max() / b[both].abs().max().clamp_min(1.0))
