"""The union of all kinds of normalizer: parsed from a name or a record, checked for channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Tuple, Type, Union

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from typing_extensions import Annotated, Literal

from normlab.errors import FieldProblem, InvalidSpec, told
from normlab.specs.norm_base import ActivationNormSpec, BatchStatisticsSpec, NormSpec
from normlab.specs.norms_by_elements import DynamicTanhSpec
from normlab.specs.norms_by_mean_square import FilterResponseNormSpec, RmsNormSpec
from normlab.specs.norms_mixed import MetaNormSpec, SparseSwitchableNormSpec, SwitchableNormSpec
from normlab.specs.norms_of_weights import (
    BoundedWeightNormSpec,
    NoNormSpec,
    ScaledWeightStandardizedSpec,
    WeightNormSpec,
    WeightStandardizedSpec,
)
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
from normlab.specs.norms_with_activation import EvoNormS0Spec

__all__ = [
    "BY_KIND",
    "SPECS",
    "ActivationNormSpec",
    "BatchNormSpec",
    "BatchRenormSpec",
    "BatchStatisticsSpec",
    "BoundedWeightNormSpec",
    "DynamicTanhSpec",
    "EvoNormS0Spec",
    "FilterResponseNormSpec",
    "GroupNormSpec",
    "InstanceNormSpec",
    "Kind",
    "L1BatchNormSpec",
    "LayerNormSpec",
    "LinfBatchNormSpec",
    "MetaNormSpec",
    "NoNormSpec",
    "NormSpec",
    "NormalizerSpec",
    "OnlineNormSpec",
    "RmsNormSpec",
    "ScaledWeightStandardizedSpec",
    "SparseSwitchableNormSpec",
    "StreamingNormSpec",
    "SwitchableNormSpec",
    "TopkBatchNormSpec",
    "WeightNormSpec",
    "WeightStandardizedSpec",
    "check_channels",
    "parse_normalizer",
]

SPECS: Tuple[Type[NormSpec], ...] = (
    BatchNormSpec,
    LayerNormSpec,
    InstanceNormSpec,
    GroupNormSpec,
    RmsNormSpec,
    DynamicTanhSpec,
    FilterResponseNormSpec,
    EvoNormS0Spec,
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
    WeightStandardizedSpec,
    ScaledWeightStandardizedSpec,
    NoNormSpec,
)
BY_KIND: Dict[str, Type[NormSpec]] = {
    str(spec.model_fields["kind"].default): spec for spec in SPECS
}

if TYPE_CHECKING:
    Kind = str
    _AnyNormSpec = NormSpec
else:
    Kind = Literal[tuple(BY_KIND)]
    _AnyNormSpec = Annotated[Union[SPECS], Field(discriminator="kind")]


def _expand_name(value: object) -> object:
    # "online" is short for {"kind": "online"}
    if isinstance(value, str):
        return {"kind": value}
    return value


NormalizerSpec = Annotated[
    _AnyNormSpec,
    BeforeValidator(_expand_name, json_schema_input_type=Union[Kind, _AnyNormSpec]),
]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(NormalizerSpec)


def parse_normalizer(value: Union[str, Mapping[str, Any], NormSpec]) -> NormSpec:
    """
    Return the spec for *value*, which is a kind's name, a dictionary or a spec.

    Raises:
        InvalidSpec: with one problem for each field that breaks a rule.
    """
    if isinstance(value, NormSpec):
        return value
    try:
        spec: NormSpec = _ADAPTER.validate_python(value)
    except ValidationError as e:
        problems = [_problem(error) for error in e.errors()]
        raise InvalidSpec(f"normalizer {value!r}: {told(problems)}", problems) from e
    return spec


def _problem(error: Any) -> FieldProblem:
    path = ".".join(["normalizer", *(str(part) for part in error["loc"][1:])])
    return FieldProblem(path, error["msg"])


def check_channels(spec: NormSpec, channels: Sequence[int]) -> List[FieldProblem]:
    """List the problems of *spec* with layers of these *channels*; empty if there are none."""
    found = [spec.problem_with_channels(c) for c in sorted(set(channels))]
    return [problem for problem in found if problem is not None]
