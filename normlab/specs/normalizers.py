"""The union of all kinds of normalizer: parsed from a name or a record, checked for channels."""

from __future__ import annotations

from typing import Any, ClassVar, List, Mapping, Sequence, Tuple, Type, Union

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import Annotated

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.by_name import ByName, registry_of
from normlab.specs.norm_base import NormSpec
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
from normlab.specs.norms_with_activation import DynamicTanhSpec, EvoNormS0Spec
from normlab.specs.problems import explain
from normlab.specs.registries import NORMALIZERS

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
BY_KIND = registry_of(NORMALIZERS, SPECS, tag="kind")


class ForgottenNormSpec(NormSpec):
    """A stored normalizer of a plugin that this process does not have, for display only."""

    model_config = ConfigDict(extra="allow")
    title: ClassVar[str] = "a plugin's normalizer"
    source: ClassVar[str] = "a plugin that is not loaded"
    kind: str


NormalizerSpec = Annotated[NormSpec, ByName(BY_KIND, NormSpec, ForgottenNormSpec, tag="kind")]

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
        kind = value.get("kind") if isinstance(value, Mapping) else None
        model = BY_KIND.get(kind) if isinstance(kind, str) else None
        raise InvalidSpec.of(explain(e.errors(), value, model, at="normalizer")) from e
    return spec


def check_channels(spec: NormSpec, channels: Sequence[int]) -> List[FieldProblem]:
    """List the problems of *spec* with layers of these *channels*; empty if there are none."""
    found = [spec.problem_with_channels(c) for c in sorted(set(channels))]
    return [problem for problem in found if problem is not None]
