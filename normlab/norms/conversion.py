"""Exchange the norm layers of anybody's network for ours."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.lp_batch import DeviationBatchNorm
from normlab.norms.weight import apply_weight_normalization
from normlab.specs.normalizers import ActivationNormSpec, NormSpec, parse_normalizer

_DIMS: Dict[Type[nn.Module], Optional[int]] = {  # of positions; None: the layer does not say
    nn.BatchNorm1d: 1,
    nn.BatchNorm2d: 2,
    nn.BatchNorm3d: 3,
    nn.InstanceNorm1d: 1,
    nn.InstanceNorm2d: 2,
    nn.InstanceNorm3d: 3,
    nn.SyncBatchNorm: None,
    nn.GroupNorm: None,
    nn.LayerNorm: None,
}
_CONV_DIMS: Dict[Type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_ACTIVATIONS: Dict[Type[nn.Module], str] = {nn.ReLU: "relu", nn.SiLU: "silu", nn.GELU: "gelu"}
_NORMS = tuple(_DIMS)


class _Place(NamedTuple):
    """Where a layer sits, and what comes right after it if a sequence says so."""

    name: str
    parent: nn.Module
    key: str
    follower: Optional[str]  # its key
    alone: bool  # nothing can follow without a sequence that says so


def convert(
    model: nn.Module,
    normalizer: Union[str, Mapping[str, Any], NormSpec],
    dims: Optional[int] = None,
    skip: Sequence[str] = (),
) -> nn.Module:
    """
    Put *normalizer* in the place of every norm layer of torch in *model*; return the model.

    Works in place, except that a *model* that is itself a norm layer is not changed and its
    successor is returned. Weight, bias and running statistics are kept where the new kind has
    them, eps and momentum unless *normalizer* sets them, and dtype, device and training mode.
    Kinds that act on weights, and "none", leave an identity and, for the former, normalize the
    convolutions. Make the optimizer afterwards: parameters are replaced.

    With `proxy`, a norm and the ReLU, SiLU or GELU after it in an `nn.Sequential` become one. What
    a `forward` written by hand applies after a norm cannot be seen, so there it is refused.

    Args:
        model: any module; functional norms inside a `forward` cannot be seen.
        normalizer: a kind's name, a dictionary with its options, or a spec.
        dims: dimensions of positions for layers that do not say theirs (GroupNorm, LayerNorm,
            SyncBatchNorm); None takes those of the model's convolutions, or 1 without any.
        skip: names of layers to leave as they are.

    Raises:
        InvalidSpec: naming the layer, before anything has changed.
    """
    spec = parse_normalizer(normalizer)
    places = [p for p in _places(model) if p.name not in skip]
    if not places and isinstance(spec, ActivationNormSpec):
        raise InvalidSpec(
            f"{type(model).__name__} has no norm layer of torch to convert; looked for "
            + ", ".join(kind.__name__ for kind in _NORMS)
        )
    made: Dict[int, nn.Module] = {}  # a layer used twice stays one layer
    changes: List[Tuple[_Place, nn.Module]] = []
    for place in places:
        old = _child(place)
        if id(old) not in made:
            made[id(old)] = _replace(model, place, spec, dims)
        changes.append((place, made[id(old)]))
    for place, new in changes:
        if not place.key:
            return new
        place.parent._modules[place.key] = new
        if place.follower is not None and _fuses(spec):
            place.parent._modules[place.follower] = nn.Identity()
    return apply_weight_normalization(model, spec)


def _places(model: nn.Module) -> List[_Place]:
    """Find every norm layer, once for each place it has."""
    if _is_norm(model):
        return [_Place("", model, "", None, alone=False)]
    places = []
    for parent_name, parent in model.named_modules():
        children = list(parent._modules.items())
        sequential = isinstance(parent, nn.Sequential)
        for i, (key, child) in enumerate(children):
            if child is None or not _is_norm(child):
                continue
            after = children[i + 1] if sequential and i + 1 < len(children) else None
            follower = after[0] if after is not None and type(after[1]) in _ACTIVATIONS else None
            alone = after is None and not (sequential and parent is model)
            name = f"{parent_name}.{key}" if parent_name else key
            places.append(_Place(name, parent, key, follower, alone))
    return places


def _is_norm(module: nn.Module) -> bool:
    lazy = getattr(type(module), "cls_to_become", None)
    return isinstance(module, _NORMS) or lazy in _NORMS


def _child(place: _Place) -> nn.Module:
    child = place.parent._modules[place.key] if place.key else place.parent
    assert child is not None
    return child


def _fuses(spec: NormSpec) -> bool:
    return isinstance(spec, ActivationNormSpec) and spec.proxy


def _replace(model: nn.Module, place: _Place, spec: NormSpec, dims: Optional[int]) -> nn.Module:
    old = _child(place)
    where = f"{place.name or 'the model'} ({type(old).__name__})"
    if not isinstance(spec, ActivationNormSpec):
        return nn.Identity()
    if not isinstance(old, _NORMS):
        raise InvalidSpec(f"{where}: its channels are not known yet; run the model once first")
    if type(old) not in _DIMS:
        raise InvalidSpec(
            f"{where} is a subclass of a norm layer of torch, and may do more than one; convert it "
            f"by hand and name it in skip=[{place.name!r}]"
        )
    activation = None
    if spec.proxy:
        if place.alone:
            raise InvalidSpec(
                f"{where}: proxy=true needs to see the activation after the norm, and only an "
                f"nn.Sequential shows it; put both in one, or build this pair with "
                f"normlab.norms.make and name it in skip=[{place.name!r}]"
            )
        follower = None if place.follower is None else place.parent._modules[place.follower]
        activation = None if follower is None else _ACTIVATIONS[type(follower)]
    try:
        own = _DIMS[type(old)] or _guess_dims(model, old, dims)
        new = make(_with_options_of(old, spec), _channels(old), activation, own)
        _carry(old, new)
    except InvalidSpec as e:
        raise InvalidSpec(f"{where}: {e}", e.problems) from e
    return new


def _channels(old: Any) -> int:
    if isinstance(old, nn.GroupNorm):
        return old.num_channels
    return int(old.normalized_shape[0] if isinstance(old, nn.LayerNorm) else old.num_features)


def _guess_dims(model: nn.Module, old: nn.Module, dims: Optional[int]) -> int:
    if isinstance(old, nn.LayerNorm):
        if any(isinstance(m, nn.MultiheadAttention) for m in model.modules()):
            raise InvalidSpec("next to attention its channels come last, and ours come second")
        if len(old.normalized_shape) > 1:
            return len(old.normalized_shape) - 1
    if dims is not None:
        return dims
    found = {d for kind, d in _CONV_DIMS.items() for m in model.modules() if isinstance(m, kind)}
    if isinstance(old, nn.LayerNorm) or not found:
        return 1
    if len(found) > 1:
        raise InvalidSpec(f"the model has convolutions of {sorted(found)} dimensions; pass dims")
    return found.pop()


def _with_options_of(old: Any, spec: ActivationNormSpec) -> ActivationNormSpec:
    """Return *spec* with what it leaves to its default taken from *old*."""
    mine: Dict[str, Any] = {}
    for name, common in (("eps", 1e-5), ("momentum", 0.1)):
        field = type(spec).model_fields.get(name)
        # A kind with a default of its own has reasons for it.
        if field is not None and field.default == common and hasattr(old, name):
            mine[name] = getattr(old, name)
    if not spec.proxy:
        mine["affine"] = getattr(old, "weight", None) is not None
    mine = {k: v for k, v in mine.items() if k not in spec.model_fields_set}
    return spec.model_copy(update=mine)


def _carry(old: Any, new: nn.Module) -> None:
    """Give *new* the affine, statistics, dtype, device and mode of *old*."""
    like = [t for t in (old.weight, getattr(old, "running_mean", None)) if t is not None]
    if like:
        new.to(like[0].device, like[0].dtype)
    new.train(old.training)
    norm = next((m for m in new.modules() if isinstance(m, ActivationNorm)), None)
    holder = norm if getattr(new, "weight", None) is None else new
    with torch.no_grad():
        for name in ("weight", "bias"):
            theirs, ours = getattr(old, name, None), getattr(holder, name, None)
            if theirs is not None and ours is not None:
                ours.copy_(_per_channel(theirs))
                ours.requires_grad_(theirs.requires_grad)
        if norm is not None and getattr(old, "running_mean", None) is not None:
            _carry_statistics(old, norm)


def _per_channel(affine: Tensor) -> Tensor:
    rows = affine.flatten(1) if affine.dim() > 1 else affine.unsqueeze(1)
    if not torch.equal(rows, rows[:, :1].expand_as(rows)):
        raise InvalidSpec("its affine differs between positions, and ours has one for each channel")
    return rows[:, 0]


def _carry_statistics(old: Any, norm: ActivationNorm) -> None:
    std = (old.running_var + old.eps).sqrt()
    var = old.running_var
    if isinstance(norm, DeviationBatchNorm) and norm.running == "reference":
        var = 1 / std
    for name, value in (
        ("running_mean", old.running_mean),
        ("moving_mean", old.running_mean),
        ("mu", old.running_mean),
        ("running_var", var),
        ("var", var),
        ("moving_var", var),
        ("running_std", std),
        ("moving_std", std),
        ("num_batches_tracked", old.num_batches_tracked),
    ):
        buffer = norm._buffers.get(name)
        if buffer is not None:
            buffer.copy_(value)
