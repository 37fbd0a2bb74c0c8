"""Every kind of normalizer in one union: parsed from a name or a record, and held to channels."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from typing_extensions import Annotated

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.norm_base import ActivationNormSpec, BatchStatisticsSpec, Normalizer, NormSpec
from normlab.specs.norms_mixed import MetaNormSpec, SparseSwitchableNormSpec, SwitchableNormSpec
from normlab.specs.norms_of_weights import BoundedWeightNormSpec, NoNormSpec, WeightNormSpec
from normlab.specs.norms_over_batches import (
    BatchNormSpec,
    BatchRenormSpec,
    L1BatchNormSpec,
    LinfBatchNormSpec,
    StreamingNormSpec,
    TopkBatchNormSpec,
)
from normlab.specs.norms_over_samples import (
    GroupNormSpec,
    InstanceNormSpec,
    LayerNormSpec,
    OnlineNormSpec,
)

__all__ = [
    "BY_KIND",
    "SPECS",
    "ActivationNormSpec",
    "BatchNormSpec",
    "BatchRenormSpec",
    "BatchStatisticsSpec",
    "BoundedWeightNormSpec",
    "GroupNormSpec",
    "InstanceNormSpec",
    "L1BatchNormSpec",
    "LayerNormSpec",
    "LinfBatchNormSpec",
    "MetaNormSpec",
    "NoNormSpec",
    "NormSpec",
    "Normalizer",
    "NormalizerSpec",
    "OnlineNormSpec",
    "SparseSwitchableNormSpec",
    "StreamingNormSpec",
    "SwitchableNormSpec",
    "TopkBatchNormSpec",
    "WeightNormSpec",
    "check_channels",
    "parse_normalizer",
]

SPECS: Tuple[Type[NormSpec], ...] = (
    BatchNormSpec,
    LayerNormSpec,
    InstanceNormSpec,
    GroupNormSpec,
    BatchRenormSpec,
    StreamingNormSpec,
    L1BatchNormSpec,
    LinfBatchNormSpec,
    TopkBatchNormSpec,
    OnlineNormSpec,
    SwitchableNormSpec,
    SparseSwitchableNormSpec,
    MetaNormSpec,
    WeightNormSpec,
    BoundedWeightNormSpec,
    NoNormSpec,
)
BY_KIND: Dict[Normalizer, Type[NormSpec]] = {
    Normalizer(spec.model_fields["kind"].default): spec for spec in SPECS
}

_AnyNormSpec = Annotated[
    Union[
        BatchNormSpec,
        LayerNormSpec,
        InstanceNormSpec,
        GroupNormSpec,
        BatchRenormSpec,
        StreamingNormSpec,
        L1BatchNormSpec,
        LinfBatchNormSpec,
        TopkBatchNormSpec,
        OnlineNormSpec,
        SwitchableNormSpec,
        SparseSwitchableNormSpec,
        MetaNormSpec,
        WeightNormSpec,
        BoundedWeightNormSpec,
        NoNormSpec,
    ],
    Field(discriminator="kind"),
]


def _expand_name(value: object) -> object:
    # "online" is short for {"kind": "online"}
    if isinstance(value, str):
        return {"kind": value.value if isinstance(value, Normalizer) else value}
    return value


NormalizerSpec = Annotated[
    _AnyNormSpec,
    BeforeValidator(_expand_name, json_schema_input_type=Union[Normalizer, _AnyNormSpec]),
]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(NormalizerSpec)


def parse_normalizer(value: Union[str, Mapping[str, Any], NormSpec]) -> NormSpec:
    """
    Return the spec that *value* (a kind's name, a dictionary or a spec) stands for.

    Raises:
        InvalidSpec: with one problem for each field that breaks a rule.
    """
    if isinstance(value, NormSpec):
        return value
    try:
        spec: NormSpec = _ADAPTER.validate_python(value)
    except ValidationError as e:
        problems = [_problem(error) for error in e.errors()]
        text = "; ".join(f"{p.field}: {p.rule}" for p in problems)
        raise InvalidSpec(f"normalizer {value!r}: {text}", problems) from e
    return spec


def _problem(error: Any) -> FieldProblem:
    path = ".".join(["normalizer", *(str(part) for part in error["loc"][1:])])
    return FieldProblem(path, error["msg"])


def check_channels(spec: NormSpec, channels: Sequence[int]) -> List[FieldProblem]:
    """List what *spec* cannot do with layers of so many *channels*; empty if it can all."""
    problems = []
    for c in sorted(set(channels)):
        problem = _channel_problem(spec, c)
        if problem is not None:
            problems.append(problem)
    return problems


def _channel_problem(spec: NormSpec, channels: int) -> Optional[FieldProblem]:
    if isinstance(spec, (GroupNormSpec, MetaNormSpec)):
        grouped = isinstance(spec, GroupNormSpec) or spec.channels == "groups"
        if grouped and channels % spec.groups:
            rule = f"groups={spec.groups} does not divide {channels} channels; "
            return FieldProblem("normalizer.groups", rule + f"use one of {_divisors(channels)}")
    if isinstance(spec, MetaNormSpec) and spec.channels == "learned" and channels & (channels - 1):
        rule = f"learned gates need a power of two, not {channels} channels; use channels='groups'"
        return FieldProblem("normalizer.channels", rule)
    if isinstance(spec, OnlineNormSpec) and spec.layer_scaling_group_size is not None:
        size = spec.layer_scaling_group_size
        if channels % size:
            rule = f"groups of {size} channels do not divide {channels}; "
            rule += f"use one of {_divisors(channels)}"
            return FieldProblem("normalizer.layer_scaling_group_size", rule)
    return None


def _divisors(n: int) -> str:
    return ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)
