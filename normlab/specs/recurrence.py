"""What a recurrent net asks of its normalizer, and which kinds can do it."""

from __future__ import annotations

from typing import Optional

from normlab.errors import FieldProblem
from normlab.specs.normalizers import (
    ActivationNormSpec,
    GroupNormSpec,
    InstanceNormSpec,
    LayerNormSpec,
    NormSpec,
    OnlineNormSpec,
)

GATES = 4


def refusal(normalizer: NormSpec) -> Optional[FieldProblem]:
    """Say why *normalizer* cannot stand at the gates of a recurrent net; None if it can."""
    kind = normalizer.model_dump()["kind"]
    instead = "use 'layer', 'group', 'online' or 'none'"
    if normalizer.acts_on == "weights":
        rule = f"{kind!r} is laid out for filters, and a recurrent net has none; {instead}"
        return FieldProblem("normalizer.kind", rule)
    if normalizer.batch_dependent:
        rule = f"the batch statistics of {kind!r} differ from one time step to the next; {instead}"
        return FieldProblem("normalizer.kind", rule)
    if isinstance(normalizer, InstanceNormSpec):
        rule = f"{kind!r} has one value a channel in a time step, which would become 0; {instead}"
        return FieldProblem("normalizer.kind", rule)
    if isinstance(normalizer, ActivationNormSpec) and normalizer.proxy:
        rule = "gates end in a sigmoid or tanh, and the proxy knows neither; set proxy to false"
        return FieldProblem("normalizer.proxy", rule)
    if isinstance(normalizer, GroupNormSpec) and normalizer.grouping != "contiguous":
        rule = "strided groups would mix the gates; use 'contiguous'"
        return FieldProblem("normalizer.grouping", rule)
    return None


def over_gates(normalizer: NormSpec, width: int) -> NormSpec:
    """
    Return what normalizes all gates of *width* units at once as *normalizer* would each alone.

    Layer norm becomes group norm, groups become four times as many, and online normalization
    scales a gate's channels together.
    """
    if isinstance(normalizer, LayerNormSpec):
        return GroupNormSpec(groups=GATES, eps=normalizer.eps, affine=normalizer.affine)
    if isinstance(normalizer, GroupNormSpec):
        return normalizer.model_copy(update={"groups": GATES * normalizer.groups})
    if isinstance(normalizer, OnlineNormSpec):
        size = normalizer.layer_scaling_group_size or width
        return normalizer.model_copy(update={"layer_scaling_group_size": size})
    return normalizer
