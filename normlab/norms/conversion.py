"""Replace the norm layers of any network by ours."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from torch import nn

from normlab.errors import FieldProblem, InvalidSpec
from normlab.norms import foreign_norms
from normlab.norms.carrying import carry_hooks
from normlab.norms.conversion_places import LayerPlace, Skip, find_places, split_skipped
from normlab.norms.conversion_refusals import refusals
from normlab.norms.conversion_report import ConversionReport, Converted, KeptLayer, Skipped
from normlab.norms.foreign_norms import is_norm_of_torch, known, why_kept
from normlab.norms.successors import Successor, fused_activation, successor
from normlab.norms.weight import apply_weight_normalization
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import parse_normalizer


class _Change(NamedTuple):
    place: LayerPlace
    successor: Successor


def convert(
    model: nn.Module,
    normalizer: Union[str, Mapping[str, Any], NormSpec],
    dims: Optional[int] = None,
    skip: Union[Skip, Sequence[Skip]] = (),
    report: Optional[Callable[[ConversionReport], object]] = print,
) -> nn.Module:
    """
    Replace every norm layer of *model* by *normalizer*; return the model.

    This replaces the BatchNorm, SyncBatchNorm, GroupNorm, InstanceNorm, LayerNorm and RMSNorm of
    torch, and their forms in timm (`BatchNormAct2d`, `GroupNormAct`, `LayerNorm2d`, `RmsNorm`, ...,
    whose dropout and activation stay), torchvision (`LayerNorm2d`) and transformers
    (`LlamaRMSNorm`, `T5LayerNorm`, ...). Other modules that normalize, such as frozen batch norm,
    weight normalization or an RMSNorm that scales by 1 + weight, are kept and reported. If a
    layer's meaning would change, nothing is changed, and one error names all such layers.

    The function works in place. Only a *model* that is itself a norm layer is not changed; its
    successor is returned, with the same parameters. A successor keeps:

    - weight and bias, as the same parameters if they have one number for each channel, and the
      absence of a bias;
    - running statistics, if the new kind has them;
    - eps, momentum, groups and sync, unless *normalizer* sets them or the kind has its own default;
    - dtype, device (also meta), training mode and hooks.

    Kinds that act on weights, and "none", leave an identity in each place; the former then
    normalize the convolutions. Parameters may be new, so make the optimizer afterwards.

    A LayerNorm or RMSNorm over the last dimension normalizes tokens, (N, ..., C). In its place,
    "layer", "group", "rms", "dyt" and "evonorm_s0" stay within each token, so "layer" computes the
    same as LayerNorm, and "rms" the same as RMSNorm. Every other kind takes the tokens of a sample
    as its positions, so tokens see each other, which must not happen in a causal model. Next to a
    torch.nn.MultiheadAttention with batch_first=False, the input is (tokens, N, C). A LayerNorm
    over several dimensions has its channels first, (C, H, W). `LayerNorm2d` normalizes every
    position over its channels, (N, C, H, W), and so do "layer" and "group" in its place.

    With `proxy`, a norm and the ReLU, SiLU or GELU after it in an `nn.Sequential` become one
    module. Activations inside a hand-written `forward` cannot be seen, so proxy is refused there.

    Args:
        model: any module; functional norms inside a `forward` cannot be seen.
        normalizer: a kind's name, a dictionary with its options, or a spec.
        dims: dimensions of positions for layers that do not specify them (GroupNorm,
            SyncBatchNorm), whose successors take any; None takes those of the model's
            convolutions, or 1.
        skip: layers to leave unchanged: paths, patterns such as "layer4.*", or classes. Each stands
            for the norm layers that it matches and for those inside modules that it matches.
        report: called with the ConversionReport on the converted, kept and skipped layers.

    Raises:
        InvalidSpec: layers are refused, or entries of *skip* match no layer; one problem for each.
    """
    spec = parse_normalizer(normalizer)
    left, skipped = split_skipped(model, find_places(model), skip)
    places = [p for p in left if _can_change(p)]
    kept = [KeptLayer(p.path, p.kind, why_kept(p.layer) or "") for p in left if not _can_change(p)]
    if not places and not skipped and spec.for_activations().layer is not None:
        raise InvalidSpec(_nothing_there(model, kept))
    changes = _plan(model, places, spec, dims)
    whole = model
    if not any(change.place.key == "" for change in changes):
        apply_weight_normalization(model, spec)  # an error comes before any change
    for change in changes:
        whole = _apply(change, spec, whole)
    leave_fast_paths(model, [change.place.parent for change in changes])
    if report is not None:
        report(_summary(spec, changes, kept, [Skipped(p.path, p.kind, by) for p, by in skipped]))
    return whole


def _can_change(place: LayerPlace) -> bool:
    return known(place.layer) is not None or is_norm_of_torch(place.layer)


def _nothing_there(model: nn.Module, kept: Sequence[KeptLayer]) -> str:
    said = f"{type(model).__name__} has no norm layer of torch to convert; looked for "
    said += ", ".join(foreign_norms.NAMES) + " (normalizer 'none' leaves it as it is)"
    found = "; ".join(f"{k.path or 'the model'} ({k.kind}) {k.why}" for k in kept[:3])
    return said + (f". Found {found}" if found else "")


def _plan(
    model: nn.Module, places: Sequence[LayerPlace], spec: NormSpec, dims: Optional[int]
) -> List[_Change]:
    """Build all successors, one per layer even if it has two places; join refusals to one error."""
    made: Dict[int, _Change] = {}
    changes, problems = [], []
    for place in places:
        first = made.get(id(place.layer))
        if first is not None:
            if fused_activation(place, spec) != fused_activation(first.place, spec):
                problems.append((place, f"is {first.place.path} too, with another activation"))
            changes.append(_Change(place, first.successor))
            continue
        reasons = list(refusals(place, spec))
        if not reasons:
            try:
                change = _Change(place, successor(model, place, spec, dims))
            except InvalidSpec as e:
                reasons = [str(e)]
            else:
                made[id(place.layer)] = change
                changes.append(change)
        problems += [(place, "; ".join(reasons))] if reasons else []
    _refuse(problems)
    return changes


def _refuse(found: Sequence[Any]) -> None:
    if not found:
        return
    problems = [FieldProblem(place.path or "model", reason) for place, reason in found]
    lines = [f"{place}: {reason}" for place, reason in found]
    head = "" if len(lines) == 1 else f"{len(lines)} layers cannot be converted:\n"
    raise InvalidSpec(head + "\n".join(lines), problems)


def _apply(change: _Change, spec: NormSpec, whole: nn.Module) -> nn.Module:
    place, new = change.place, change.successor.module
    carry_hooks(place.layer, new)
    if not place.key:
        return new
    follower = None if place.follower is None else place.parent._modules[place.follower]
    own = place.layer._modules.get("act")
    place.parent._modules[place.key] = new
    if follower is not None and own is None and fused_activation(place, spec) is not None:
        identity = nn.Identity()
        carry_hooks(follower, identity)
        place.parent._modules[str(place.follower)] = identity
    return whole


def _summary(
    spec: NormSpec,
    changes: Sequence[_Change],
    kept: Sequence[KeptLayer],
    skipped: Sequence[Skipped],
) -> ConversionReport:
    converted = [
        Converted(
            change.place.path,
            change.place.kind,
            type(change.successor.module).__name__,
            tuple(change.successor.carried),
            tuple(change.successor.notes),
        )
        for change in changes
    ]
    kind = str(spec.model_dump()["kind"])
    return ConversionReport(kind, tuple(converted), tuple(kept), tuple(skipped))


def leave_fast_paths(model: nn.Module, parents: Sequence[nn.Module]) -> None:
    """
    Make the transformer layers among *parents*, whose norms were replaced, call them in evaluation.

    In evaluation, TransformerEncoderLayer passes the norms' weights to one fused operator, which
    always computes layer normalization, and TransformerEncoder packs padded inputs for it.
    """
    changed = {id(p) for p in parents if isinstance(p, nn.TransformerEncoderLayer)}
    for parent in parents:
        if id(parent) in changed:
            parent.activation_relu_or_gelu = 0  # type: ignore[assignment]
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and changed & {id(m) for m in module.layers}:
            module.use_nested_tensor = False
            module.enable_nested_tensor = False
