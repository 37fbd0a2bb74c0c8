"""Add a normalization of weights to the filters of a network, and remove it again."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple, Type, TypeVar, Union

from torch import Tensor, nn
from torch.nn.utils import parametrize

from normlab.errors import InvalidSpec
from normlab.norms.weight_lengths import (
    BoundedTotalWeightNorm,
    BoundedWeightNorm,
    WeightNorm,
    channel_norm,
    wide,
)
from normlab.norms.weight_standardization import ScaledWeightStandardization, WeightStandardization
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import parse_normalizer
from normlab.specs.norms_of_weights import (
    BoundedWeightNormSpec,
    ScaledWeightStandardizedSpec,
    WeightNormSpec,
    WeightStandardizedSpec,
)

_STANDARDIZED = (WeightStandardizedSpec, ScaledWeightStandardizedSpec)
_OURS: Tuple[Type[nn.Module], ...] = (
    WeightNorm,
    BoundedWeightNorm,
    BoundedTotalWeightNorm,
    WeightStandardization,
    ScaledWeightStandardization,
)

_CONVS: Tuple[Type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Tuple[Type[nn.Module], ...] = (
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)

Model = TypeVar("Model", bound=nn.Module)


def apply_weight_normalization(
    model: Model, normalizer: Union[str, Mapping[str, Any], NormSpec]
) -> Model:
    """
    Normalize the weights of every convolution of *model*, in place; return *model*.

    A kind that acts on activations does not change the model, so one call works for every kind.
    Call it after initialization and before making the optimizer, because parameters are replaced.

    Raises:
        InvalidSpec: *model* has no such weights, they are normalized already, or a channel cannot
            be normalized because its weights are all zero (or, for standardization, all the same).
    """
    spec = parse_normalizer(normalizer)
    if not spec.acts_on_weights:
        return model
    targets = _targets(model, getattr(spec, "include_linear", False))
    if not targets:
        raise InvalidSpec(
            f"{spec.kind!r} normalizes the weights of convolutions, and {type(model).__name__} "
            "has none; set include_linear to true, or use a kind that acts on activations"
        )
    for name, module in targets.items():
        _check_weight(name, module, spec)
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
    if not parametrize.is_parametrized(module, "weight"):
        return False
    return any(isinstance(step, _OURS) for step in _chain(module))


def _chain(module: nn.Module) -> Any:
    chains: Any = module.parametrizations
    return chains["weight"]


def _check_weight(name: str, module: nn.Module, spec: NormSpec) -> None:
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
    if weight.is_meta:  # there are no values to check
        return
    filters = weight.detach().transpose(0, _channel_dim(module)).flatten(1)
    if isinstance(spec, _STANDARDIZED):
        _refuse_constant(where, filters)
    else:
        _refuse_empty(where, filters)


def _refuse_empty(where: str, filters: Tensor) -> None:
    empty: List[int] = (filters == 0).all(1).nonzero().flatten().tolist()
    if empty:
        raise InvalidSpec(
            f"{where}: the weights of output channel {empty[0]} are all zero, so they have no "
            "direction to normalize; initialize them with other numbers first"
        )


def _refuse_constant(where: str, filters: Tensor) -> None:
    constant: List[int] = (filters == filters[:, :1]).all(1).nonzero().flatten().tolist()
    if constant:
        why = "has one weight" if filters.shape[1] == 1 else "has weights that are all the same"
        raise InvalidSpec(
            f"{where}: output channel {constant[0]} {why}, so they would be 0 without their mean; "
            "use 'weight' or a kind that acts on activations, or initialize it otherwise"
        )


def _step(spec: NormSpec, weight: Tensor, dim: int) -> nn.Module:
    """Return the parametrization that computes the used weights, starting from *weight*."""
    if isinstance(spec, WeightNormSpec):
        return WeightNorm(dim)
    if isinstance(spec, BoundedWeightNormSpec) and spec.rho == "learned":
        return BoundedTotalWeightNorm(weight, dim, float(spec.p))
    if isinstance(spec, BoundedWeightNormSpec):
        return BoundedWeightNorm(weight, dim, spec.rho, float(spec.p))
    if isinstance(spec, WeightStandardizedSpec):
        return WeightStandardization(dim, spec.weight_eps)
    if isinstance(spec, ScaledWeightStandardizedSpec):
        return ScaledWeightStandardization(dim, spec.nonlinearity, spec.weight_eps)
    raise InvalidSpec(
        f"{spec.kind!r} acts on weights, but normlab.norms.weight has no parametrization for it"
    )


def _normalize(module: nn.Module, spec: NormSpec) -> None:
    weight, dim = module.weight, _channel_dim(module)
    assert isinstance(weight, Tensor)
    parametrize.register_parametrization(module, "weight", _step(spec, weight, dim))
    if isinstance(spec, BoundedWeightNormSpec) and spec.renormalize:
        _divide_by_length(module)
        module.register_forward_pre_hook(_renormalize)


def _renormalize(module: nn.Module, inputs: Any) -> None:
    """
    Divide the stored v by its length before it is used in training.

    This does not change the output. The gradient is proportional to 1 / ||v||, so it then does not
    shrink when updates lengthen v.
    """
    if module.training:
        _divide_by_length(module)


def _divide_by_length(module: nn.Module) -> None:
    chain = _chain(module)
    v = chain.original1 if hasattr(chain, "original1") else chain.original
    norm = channel_norm(wide(v.data), chain[0].dim, chain[0].p)
    # through .data, because earlier forwards may wait for backward, and their direction is the same
    v.data.div_(norm.to(v.dtype))


def _channel_dim(module: nn.Module) -> int:
    return 1 if isinstance(module, _TRANSPOSED) else 0
