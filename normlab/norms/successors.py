"""Build the successors of norm layers, with their options and in the form for their layout."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional

from torch import nn

from normlab.errors import InvalidSpec
from normlab.norms import carrying, foreign_norms, make
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.conversion_places import ACTIVATIONS, LayerPlace
from normlab.norms.evonorm import ScaleAndShift
from normlab.norms.foreign_norms import Layout, channels_of, held
from normlab.norms.token_norm import TokenNorm
from normlab.specs.norm_base import NormSpec
from normlab.specs.norms_of_weights import WeightStandardizedSpec
from normlab.specs.norms_over_batches import BatchNormSpec
from normlab.specs.norms_over_samples import GroupNormSpec
from normlab.specs.norms_with_activation import EvoNormS0Spec

_IN_GROUPS = (GroupNormSpec, WeightStandardizedSpec, EvoNormS0Spec)  # variances over groups
_CONV_DIMS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


class Successor(NamedTuple):
    """The successor of a layer, the state that it keeps, and the properties that it lacks."""

    module: nn.Module
    carried: List[str]
    notes: List[str]


def successor(
    model: nn.Module, place: LayerPlace, spec: NormSpec, dims: Optional[int] = None
) -> Successor:
    """
    Build the successor of a known norm layer from *spec*.

    Raises:
        InvalidSpec: the kind cannot be built for the layer's channels and options.
    """
    old = place.layer
    if spec.for_activations().layer is None:
        return Successor(_with_held(old, nn.Identity()), [], [])
    known = foreign_norms.known(old)
    assert known is not None
    own = with_options_of(old, spec)
    channels, activation = channels_of(old), fused_activation(place, spec)
    alone = spec.within_token  # like the old layer
    tokens = known.layout is Layout.TOKENS or (known.layout is Layout.POSITIONS and alone)
    own_dims = 1 if tokens else known.dims or _guess_dims(model, dims)
    core = make(own, channels, activation, own_dims)
    norm = _norm_in(core)
    if isinstance(norm, ActivationNorm):
        norm.any_dims = known.dims is None and not tokens
        biased = getattr(old, "bias", None) is not None or old.weight is None
        if not biased and not _asks(spec, "affine"):
            norm.register_parameter("bias", None)  # like LayerNorm(bias=False)
    carried, notes = carrying.carry(model, old, core, norm)
    if isinstance(norm, ScaleAndShift):
        notes.append("no activation follows, so this kind is only a scale and a shift here")
    if tokens:
        last, second = known.layout is Layout.TOKENS, _counts_samples_second(place)
        core = TokenNorm(core, channels, alone, last, second and last)
        if not alone:
            notes.append("statistics over the tokens of a sample: they see each other")
    core.train(old.training)
    fused = spec.fuses_activation and activation is not None
    return Successor(_with_held(old, core, fused), carried, notes)


def fused_activation(place: LayerPlace, spec: NormSpec) -> Optional[str]:
    """Return the activation that becomes part of the successor at *place*, if any."""
    if not spec.fuses_activation:
        return None
    act = held(place.layer, "act")
    if act is None and place.follower is not None:
        act = place.parent._modules[place.follower]
    return None if act is None else ACTIVATIONS[type(act)]


def with_options_of(old: Any, spec: NormSpec) -> NormSpec:
    """
    Return *spec*, with options that it does not set taken from *old*.

    These are eps and momentum (unless the kind has its own default), whether there is an affine,
    the groups of a group norm, and whether replicas share statistics.
    """
    mine: Dict[str, Any] = {}
    theirs = {"eps": foreign_norms.eps_of(old)} if foreign_norms.eps_of(old) is not None else {}
    theirs.update({"momentum": old.momentum} if hasattr(old, "momentum") else {})
    for name, common in (("eps", 1e-5), ("momentum", 0.1)):
        field = type(spec).model_fields.get(name)
        if field is not None and field.default == common and name in theirs:
            mine[name] = theirs[name]
    if "affine" in type(spec).model_fields and not getattr(spec, "proxy", False):
        mine["affine"] = getattr(old, "weight", None) is not None
    if isinstance(spec, _IN_GROUPS) and isinstance(old, nn.GroupNorm):
        mine["groups"] = old.num_groups
    if isinstance(spec, BatchNormSpec) and isinstance(old, nn.SyncBatchNorm):
        mine["sync"] = True
    return spec.model_copy(update={k: v for k, v in mine.items() if not _asks(spec, k)})


def _asks(spec: NormSpec, field: str) -> bool:
    return field in spec.model_fields_set


def _norm_in(module: nn.Module) -> nn.Module:
    ours = (m for m in module.modules() if isinstance(m, ActivationNorm))
    return next(ours, getattr(module, "norm", module))


def _guess_dims(model: nn.Module, dims: Optional[int]) -> int:
    if dims is not None:
        return dims
    found = {d for kind, d in _CONV_DIMS.items() for m in model.modules() if isinstance(m, kind)}
    if len(found) > 1:
        raise InvalidSpec(f"the model has convolutions of {sorted(found)} dimensions; pass dims")
    return found.pop() if found else 1


def _counts_samples_second(place: LayerPlace) -> bool:
    # torch's attention has the sequence first by default, and so do the layers next to it
    return any(
        isinstance(m, nn.MultiheadAttention) and not m.batch_first for m in place.parent.modules()
    )


def _with_held(old: nn.Module, core: nn.Module, fused: bool = False) -> nn.Module:
    """Put the dropout and the activation of *old* after *core*, except one *fused* into it."""
    parts = [("norm", core), ("drop", held(old, "drop"))]
    parts += [] if fused else [("act", held(old, "act"))]
    kept = OrderedDict((name, part) for name, part in parts if part is not None)
    return nn.Sequential(kept) if len(kept) > 1 else core
