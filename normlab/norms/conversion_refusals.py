"""Refuse norm layers, by name, if the new kind cannot keep their meaning."""

from __future__ import annotations

from typing import Any, Iterator, Optional

from torch import nn
from torch.nn.utils import parametrize

from normlab.norms import foreign_norms
from normlab.norms.conversion_places import ACTIVATIONS, LayerPlace
from normlab.norms.foreign_norms import held
from normlab.specs.norm_base import NormSpec
from normlab.specs.norms_over_batches import BatchNormSpec
from normlab.specs.norms_over_samples import InstanceNormSpec

_STATE_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
                "_load_state_dict_post_hooks")  # fmt: skip


def refusals(place: LayerPlace, spec: NormSpec) -> Iterator[str]:
    """Yield the reasons why *spec* cannot replace the layer at *place*, each with a way out."""
    yield from _of_the_object(place)
    if foreign_norms.known(place.layer) is None or spec.for_activations().layer is None:
        return
    for reason in (_tracking(place, spec), _syncing(place, spec), _fusing(place, spec)):
        if reason is not None:
            yield reason


def _of_the_object(place: LayerPlace) -> Iterator[str]:
    layer = place.layer
    if getattr(type(layer), "cls_to_become", None) is not None:
        yield "its channels are not known yet; run the model once first"
        return
    if parametrize.is_parametrized(layer):
        yield (
            "its own parameters are parametrized; take that off with "
            "torch.nn.utils.parametrize.remove_parametrizations first, or " + _skipping(place)
        )
    elif foreign_norms.known(layer) is None:
        yield (
            "it is a subclass of a norm layer of torch, and may do more than that layer; convert "
            "it by hand and " + _skipping(place)
        )
    elif not all(isinstance(getattr(layer, name, None), (nn.Parameter, type(None)))
                 for name in ("weight", "bias")):  # fmt: skip
        yield (
            "its weight or bias is not an nn.Parameter, so its computation is unknown; "
            + _skipping(place)
        )
    if "forward" in vars(layer):
        yield "its forward was replaced on the object; restore that of the class, or " + _skipping(
            place
        )
    if any(type(hook).__module__.startswith("torch.nn.utils")
           for hook in layer._forward_pre_hooks.values()):  # fmt: skip
        yield (
            "a hook of torch.nn.utils computes its parameters; take the hook off first, or "
            + _skipping(place)
        )
    if any(getattr(layer, name, None) for name in _STATE_HOOKS):
        yield "it has hooks on its state dict; take them off first, or " + _skipping(place)


def _tracking(place: LayerPlace, spec: NormSpec) -> Optional[str]:
    layer: Any = place.layer
    kind = spec.model_dump()["kind"]
    tracked = getattr(layer, "track_running_stats", False)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not tracked and spec.stateful:
        return (
            f"it has track_running_stats=False, so evaluation takes the batch's own statistics, "
            f"and {kind!r} takes running ones; build it with track_running_stats=True, choose a "
            "kind without running statistics such as 'group', or " + _skipping(place)
        )
    instance = isinstance(layer, nn.modules.instancenorm._InstanceNorm)
    if instance and tracked and isinstance(spec, InstanceNormSpec):
        return (
            "it has track_running_stats=True, so evaluation takes running statistics, and "
            "'instance' takes each sample's own; build it with track_running_stats=False, or "
            + _skipping(place)
        )
    return None


def _syncing(place: LayerPlace, spec: NormSpec) -> Optional[str]:
    layer = place.layer
    if not isinstance(layer, nn.SyncBatchNorm) or not spec.batch_dependent:
        return None
    if not isinstance(spec, BatchNormSpec):
        return (
            f"it shares its statistics over all replicas, and {spec.model_dump()['kind']!r} does "
            "not; choose 'batch' or a kind that needs no batch, put nn.BatchNorm there first, or "
            + _skipping(place)
        )
    if "sync" in spec.model_fields_set and not spec.sync:
        return None  # asked for explicitly
    if spec.virtual_batch_size is not None:
        return (
            "it shares its statistics over all replicas, which virtual_batch_size cannot; add "
            "sync: false to give that up, or " + _skipping(place)
        )
    if layer.process_group is not None:
        return (
            "it shares its statistics within a process group, and sync shares them over all "
            "replicas; add sync: false to give that up, or " + _skipping(place)
        )
    return None


def _fusing(place: LayerPlace, spec: NormSpec) -> Optional[str]:
    act, drop = held(place.layer, "act"), held(place.layer, "drop")
    if not spec.fuses_activation:
        return None
    out = f"{spec.to_keep_activation}, or " if spec.to_keep_activation else ""
    out += _skipping(place)
    what = "proxy=true" if getattr(spec, "proxy", False) else f"{spec.kind!r}"
    if act is not None and (drop is not None or type(act) not in ACTIVATIONS):
        holds = "a dropout before its activation" if drop is not None else f"{type(act).__name__}"
        known = ", ".join(sorted(kind.__name__ for kind in ACTIVATIONS))
        return f"{what} takes {known} right after the norm, and this one holds {holds}; " + out
    if act is None and place.alone:
        return (
            f"{what} needs to see the activation after the norm, and only an nn.Sequential "
            "shows it; put both in one, or build this pair with normlab.norms.make and " + out
        )
    return None


def _skipping(place: LayerPlace) -> str:
    return f"name it in skip=[{place.path!r}]"
