"""Weight normalization, plain and bounded: every output channel as a length times a direction.

v is the stored weight, ||v|| the norm of each output channel; g has one length per channel.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normlab.errors import InvalidSpec
from normlab.specs.normalizers import (
    BoundedWeightNormSpec,
    NormSpec,
    WeightNormSpec,
    parse_normalizer,
)

_CONVS: Tuple[Type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Tuple[Type[nn.Module], ...] = (
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)

Model = TypeVar("Model", bound=nn.Module)


class WeightNorm(nn.Module):
    """
    Give each output channel a learned length: w = g * v / ||v||.

    A parametrization: the module keeps g as `original0` and v as `original1`.

    Source:
        Salimans and Kingma, "Weight Normalization", NeurIPS 2016, arXiv:1602.07868, eq. 2. g starts
        as ||v||, so that applying it changes nothing; their data-dependent start is left out.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """Return w."""
        wide = _wide(v)
        return (wide * (_wide(g) / _channel_norm(wide, self.dim))).to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the g and v that give *w*."""
        return _channel_norm(_wide(w), self.dim).to(w.dtype), w

    def extra_repr(self) -> str:
        """Show the dimension of the output channels."""
        return f"dim={self.dim}"


class BoundedWeightNorm(nn.Module):
    """
    Keep each output channel at the length rho: w = rho * v / ||v||.

    rho is one number per layer, measured on the initial weights, and never changes.

    Args:
        w: the weight at the start.
        rho: "rms" is ||w||_F / sqrt(C_out) for p = 2, "mean" the mean of the channels' lengths.
        p: the norm: 2, or infinity for the largest absolute weight.

    Source:
        Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018, arXiv:1803.01814, section on
        bounded weight normalization. The authors' code takes "mean", and for p = inf forgets
        the absolute value; "rms" is the paper's.
    """

    rho: Tensor

    def __init__(self, w: Tensor, dim: int, rho: str = "rms", p: float = 2.0) -> None:
        super().__init__()
        self.dim, self.mode, self.p = dim, rho, p
        norms = _channel_norm(_wide(w.detach()), dim, p)
        length = norms.mean() if rho == "mean" else norms.square().mean().sqrt()
        self.register_buffer("rho", length.reshape(1))

    def forward(self, v: Tensor) -> Tensor:
        """Return w."""
        wide = _wide(v)
        return (wide * (self.rho / _channel_norm(wide, self.dim, self.p))).to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return a v: *w* itself, its lengths are replaced by rho."""
        return w

    def extra_repr(self) -> str:
        """Show how rho was measured."""
        return f"dim={self.dim}, rho={self.mode!r}, p={self.p:g}"


class BoundedTotalWeightNorm(nn.Module):
    """
    Learn the lengths of the channels, but keep their total: w = g * (G / ||g||) * v / ||v||.

    G is ||g|| at the start. A parametrization: g is `original0`, v is `original1`.

    Source:
        The form of the ImageNet models in the code of Hoffer et al. (see `BoundedWeightNorm`).
    """

    total: Tensor

    def __init__(self, w: Tensor, dim: int, p: float = 2.0) -> None:
        super().__init__()
        self.dim, self.p = dim, p
        g = _channel_norm(_wide(w.detach()), dim, p)
        self.register_buffer("total", g.norm().reshape(1))

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """Return w."""
        wide, lengths = _wide(v), _wide(g)
        lengths = lengths * (self.total / lengths.norm())
        w: Tensor = wide * (lengths / _channel_norm(wide, self.dim, self.p))
        return w.to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the g and v that give *w* if its total is G."""
        return _channel_norm(_wide(w), self.dim, self.p).to(w.dtype), w

    def extra_repr(self) -> str:
        """Show the norm."""
        return f"dim={self.dim}, p={self.p:g}"


def apply_weight_normalization(
    model: Model, normalizer: Union[str, Mapping[str, Any], NormSpec]
) -> Model:
    """
    Normalize the weights of every convolution of *model*, in place; return *model*.

    A kind that acts on activations leaves the model as it is, so one call serves every kind. Do it
    after initialization and before the optimizer is made: parameters are replaced.

    Raises:
        InvalidSpec: if nothing in *model* has such weights, if they are normalized already, or if
            a channel is all zero and so has no direction.
    """
    spec = parse_normalizer(normalizer)
    if not isinstance(spec, (WeightNormSpec, BoundedWeightNormSpec)):
        return model
    targets = _targets(model, spec.include_linear)
    if not targets:
        raise InvalidSpec(
            f"{spec.kind!r} normalizes the weights of convolutions, and {type(model).__name__} "
            "has none; set include_linear to true, or use a kind that acts on activations"
        )
    for name, module in targets.items():
        _check_weight(name, module)
    for module in targets.values():
        _normalize(module, spec)
    return model


def remove_weight_normalization(model: Model) -> Model:
    """Replace the parts of normalized weights by the effective weights; return *model*."""
    for module in list(model.modules()):
        if _is_normalized(module):
            for key, hook in list(module._forward_pre_hooks.items()):
                if hook is _renormalize:
                    del module._forward_pre_hooks[key]
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model


def _targets(model: nn.Module, include_linear: bool) -> Dict[str, nn.Module]:
    kinds = _CONVS + _TRANSPOSED + ((nn.Linear,) if include_linear else ())
    return {name: m for name, m in model.named_modules() if isinstance(m, kinds)}


def _is_normalized(module: nn.Module) -> bool:
    ours = (WeightNorm, BoundedWeightNorm, BoundedTotalWeightNorm)
    if not parametrize.is_parametrized(module, "weight"):
        return False
    chain = module.parametrizations["weight"]  # type: ignore[index]
    return any(isinstance(step, ours) for step in chain)


def _check_weight(name: str, module: nn.Module) -> None:
    where = f"{name or 'the module'} ({type(module).__name__})"
    if _is_normalized(module):
        raise InvalidSpec(f"{where}: its weight is normalized already; apply this once")
    weight = module.weight
    if isinstance(module, _TRANSPOSED) and module.groups != 1:
        raise InvalidSpec(
            f"{where}: groups={module.groups}, and weights of transposed convolutions are "
            "normalized for groups=1 only"
        )
    assert isinstance(weight, Tensor)
    if weight.is_meta:  # no numbers to look at
        return
    norms = _channel_norm(weight.detach(), _channel_dim(module)).flatten()
    empty: List[int] = (norms == 0).nonzero().flatten().tolist()
    if empty:
        raise InvalidSpec(
            f"{where}: the weights of output channel {empty[0]} are all zero, so they have no "
            "direction to normalize; initialize them with other numbers first"
        )


def _normalize(module: nn.Module, spec: Union[WeightNormSpec, BoundedWeightNormSpec]) -> None:
    weight, dim = module.weight, _channel_dim(module)
    assert isinstance(weight, Tensor)
    step: nn.Module
    if isinstance(spec, WeightNormSpec):
        step = WeightNorm(dim)
    elif spec.rho == "learned":
        step = BoundedTotalWeightNorm(weight, dim, float(spec.p))
    else:
        step = BoundedWeightNorm(weight, dim, spec.rho, float(spec.p))
    parametrize.register_parametrization(module, "weight", step)
    if isinstance(spec, BoundedWeightNormSpec) and spec.renormalize:
        _divide_by_length(module)
        module.register_forward_pre_hook(_renormalize)


def _renormalize(module: nn.Module, inputs: Any) -> None:
    """
    Divide the stored v by its length, before a use in training.

    The output does not change; the gradient, which is proportional to 1 / ||v||, then does not
    shrink as steps lengthen v.
    """
    if module.training:
        _divide_by_length(module)


def _divide_by_length(module: nn.Module) -> None:
    chain: Any = module.parametrizations["weight"]  # type: ignore[index]
    v = chain.original1 if hasattr(chain, "original1") else chain.original
    norm = _channel_norm(_wide(v.data), chain[0].dim, chain[0].p)
    # through .data: an earlier forward that still waits for its backward keeps the same direction
    v.data.div_(norm.to(v.dtype))


def _channel_dim(module: nn.Module) -> int:
    return 1 if isinstance(module, _TRANSPOSED) else 0


def _channel_norm(v: Tensor, dim: int, p: Optional[float] = 2.0) -> Tensor:
    dims = [d for d in range(v.dim()) if d != dim]
    norm: Tensor = torch.linalg.vector_norm(v, p, dim=dims, keepdim=True)  # (C_out, 1, 1, 1)
    return norm


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
