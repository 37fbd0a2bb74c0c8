"""The normalizers: `make` builds any kind, with or without an activation, as one module."""

from __future__ import annotations

import inspect
from typing import Any, Dict, List, Mapping, Optional, Type, Union

from torch import Tensor, nn

from normlab.errors import InvalidSpec, refuse
from normlab.norms.activation_norm import ActivationNorm, ParameterHint
from normlab.norms.following import ACTIVATIONS, Following, can_follow
from normlab.norms.fused import fused_kernels, load_fused_kernels, unload_fused_kernels
from normlab.norms.proxy import ProxyNorm
from normlab.norms.solved_norm import solved_layer
from normlab.norms.weight import apply_weight_normalization, remove_weight_normalization
from normlab.specs.norm_base import ActivationNormSpec, NormSpec
from normlab.specs.normalizers import BY_KIND, check_channels, parse_normalizer
from normlab.specs.registries import named_object

__all__ = [
    "LAYERS",
    "ActivationNorm",
    "NormActivation",
    "ParameterHint",
    "ProxyNorm",
    "ScaleOnlyNorm",
    "activation_norms",
    "apply_weight_normalization",
    "clipped_together",
    "fused_kernels",
    "load_fused_kernels",
    "make",
    "parameter_hints",
    "plain_operators",
    "remove_weight_normalization",
    "set_training_progress",
    "unload_fused_kernels",
]


LAYERS: Dict[str, Type[ActivationNorm]] = {
    kind: named_object(spec.layer) for kind, spec in BY_KIND.own.items() if spec.layer is not None
}

ACTIVATION_MODULES: Dict[str, Type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
_NOT_THE_LAYERS = {"kind", "proxy", "proxy_eps", "quadrature", "proxy_weight_decay"}

NormalizerLike = Union[str, Mapping[str, Any], NormSpec]


class NormActivation(nn.Module):
    """
    A norm, then an activation.

    Args:
        norm: one of ours, or the module of a plugin's author.
        activation: the activation; None if there is none, or if *norm* applies it.
    """

    def __init__(self, norm: nn.Module, activation: Optional[str]) -> None:
        super().__init__()
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x*, then activate it."""
        norm, activation = self.norm, self.activation
        if activation is None or not isinstance(norm, ActivationNorm) or not can_follow(norm, x):
            y: Tensor = norm(x)
            return y if activation is None else ACTIVATIONS[activation](y)
        return norm.followed(x, norm.weight, norm.bias, Following(activation))

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"activation={self.activation!r}"


class ScaleOnlyNorm(nn.Module):
    """
    A norm with a scale but no shift, which proxy normalization uses where no activation follows.

    This is the end of a residual branch, and in the published network the last norm of a block.
    """

    def __init__(self, norm: ActivationNorm) -> None:
        super().__init__()
        self.norm = norm
        self.norm.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize and scale *x*."""
        y: Tensor = self.norm(x)
        return y


def make(
    normalizer: NormalizerLike,
    num_features: int,
    activation: Optional[str] = None,
    dims: int = 2,
    plain: bool = False,
) -> nn.Module:
    """
    Build a normalizer, with the activation that follows it, as one module.

    For kinds that act on weights, and for "none", the module is just the activation; see
    `apply_weight_normalization` for their effect on a network.

    Args:
        normalizer: a kind's name, a dictionary with its options, or a spec.
        num_features: C, the number of channels.
        activation: "relu", "silu", "gelu" or None; kinds with an own activation replace it.
        dims: dimensions of positions: 1 takes (N, C) and (N, C, L), 2 (N, C, H, W), and so on.
        plain: use plain operators only, which any backend can differentiate.

    Raises:
        InvalidSpec: an option is out of range, or the channels do not fit the kind.
    """
    spec = parse_normalizer(normalizer)
    if activation is not None and activation not in ACTIVATIONS:
        raise InvalidSpec(f"{activation=}: it is one of {sorted(ACTIVATIONS)}, or None")
    refuse(check_channels(spec, [num_features]))
    module = _build(spec, num_features, activation, dims)
    return plain_operators(module) if plain else module


def _layer_of(spec: NormSpec) -> Any:
    if spec.kind in LAYERS:
        return LAYERS[spec.kind]
    found = named_object(str(spec.layer))  # a class, or a plugin's function of moments
    return found if inspect.isclass(found) else solved_layer(found)


def _build(spec: NormSpec, num_features: int, activation: Optional[str], dims: int) -> nn.Module:
    spec = spec.for_activations()
    if spec.layer is None:
        return nn.Identity() if activation is None else ACTIVATION_MODULES[activation]()
    layer = _layer_of(spec)
    options = spec.model_dump(exclude=_NOT_THE_LAYERS)
    if not issubclass(layer, ActivationNorm):
        return _of_its_author(layer, num_features, activation, {**options, "dims": dims})
    if isinstance(spec, ActivationNormSpec) and spec.proxy:
        if activation is None:
            return ScaleOnlyNorm(layer(num_features, dims=dims, **options))
        bare = layer(num_features, dims=dims, **{**options, "affine": False})
        return ProxyNorm(bare, activation, spec.proxy_eps, spec.quadrature, spec.proxy_weight_decay)
    norm: ActivationNorm = layer(num_features, dims=dims, **options)
    if activation is None:
        return norm.without_activation()
    return norm.with_its_own() if spec.fuses_activation else NormActivation(norm, activation)


def _of_its_author(
    layer: Any, num_features: int, activation: Optional[str], options: Dict[str, Any]
) -> nn.Module:
    takes = inspect.signature(layer).parameters
    if "dims" not in takes:
        del options["dims"]
    if "activation" in takes:
        return NormActivation(layer(num_features, activation=activation, **options), None)
    return NormActivation(layer(num_features, **options), activation)


def plain_operators(model: nn.Module, on: bool = True) -> nn.Module:
    """Let every normalizer in *model* use plain operators only if *on*, or else its fast form."""
    for module in model.modules():
        if isinstance(module, ActivationNorm):
            module.plain = on
    return model


def set_training_progress(model: nn.Module, fraction: float) -> None:
    """Tell every normalizer in *model* the finished fraction of the training run, in [0, 1]."""
    if not 0 <= fraction <= 1:
        raise InvalidSpec(f"{fraction=}: progress is between 0 and 1")
    for layer in activation_norms(model):
        layer.set_progress(fraction)


def activation_norms(model: nn.Module) -> List[ActivationNorm]:
    """Return the normalizers of activations in *model*."""
    return [module for module in model.modules() if isinstance(module, ActivationNorm)]


def parameter_hints(model: nn.Module) -> Dict[nn.Parameter, ParameterHint]:
    """Return the hints for parameters of *model*'s normalizers that learn in a special way."""
    hints: Dict[nn.Parameter, ParameterHint] = {}
    for module in model.modules():
        own = getattr(module, "parameter_hints", None)
        if own is not None:
            hints.update(own())
    return hints


def clipped_together(model: nn.Module) -> List[nn.Parameter]:
    """Return the parameters of *model* whose gradients are clipped together to a norm of 1."""
    return [p for p, hint in parameter_hints(model).items() if hint.clipped_together]
