"""Every kind of normalizer: its options with their limits, and the facts that hold for the kind."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Annotated, Literal, Self

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.base import Spec


class Normalizer(str, Enum):
    """The kinds, by the name that a job uses."""

    BATCH = "batch"
    LAYER = "layer"
    INSTANCE = "instance"
    GROUP = "group"
    BATCH_RENORM = "batch_renorm"
    STREAMING = "streaming"
    L1_BATCH = "l1_batch"
    LINF_BATCH = "linf_batch"
    TOPK_BATCH = "topk_batch"
    ONLINE = "online"
    SWITCHABLE = "switchable"
    SPARSE_SWITCHABLE = "sparse_switchable"
    META = "meta"
    WEIGHT = "weight"
    BOUNDED_WEIGHT = "bounded_weight"
    NONE = "none"


class NormSpec(Spec):
    """What all kinds share: facts that the catalogue and the documentation show."""

    title: ClassVar[str]
    source: ClassVar[str]
    batch_dependent: ClassVar[bool] = False  # a sample's output depends on the others' in the batch
    stateful: ClassVar[bool] = False  # buffers change while training
    channelwise: ClassVar[bool] = False  # every channel ends with mean 0 and variance 1
    keeps_expressivity: ClassVar[bool] = True  # no statistic of a sample is lost
    acts_on: ClassVar[Literal["activations", "weights", "nothing"]] = "activations"
    runs_on_ipu: ClassVar[bool] = True
    ipu_reason: ClassVar[str] = "plain operators differentiate it"

    @model_validator(mode="before")
    @classmethod
    def _refuse_proxy_elsewhere(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "proxy" in values and "proxy" not in cls.model_fields:
            kind = cls.model_fields["kind"].default
            raise ValueError(
                f"{kind!r} cannot take proxy: it normalizes {cls.acts_on}, so no affine of an "
                "activation is there to replace; leave proxy out, or use a kind such as 'group'"
            )
        return values


class ActivationNormSpec(NormSpec):
    """Kinds that normalize activations: eps, the affine, and the proxy-normalized activation."""

    eps: float = Field(1e-5, gt=0, le=1, description="added to the variance")
    affine: bool = Field(True, description="learn a scale and a shift for each channel")
    proxy: bool = Field(
        False, description="move the affine into a proxy-normalized activation after the norm"
    )
    proxy_eps: float = Field(0.03, gt=0, le=1, description="added to the proxy variance")
    quadrature: Literal["exact", "midpoint200"] = Field(
        "exact",
        description="proxy expectation: closed form for ReLU and Gauss-Hermite otherwise, "
        "or the 200 equiprobable midpoints of the published code",
    )
    proxy_weight_decay: float = Field(
        0.0, ge=0, le=1, description="pulls the proxy's extra mean and scale back to N(0, 1)"
    )

    @model_validator(mode="after")
    def _proxy_needs_affine(self) -> Self:
        if self.proxy and not self.affine:
            raise ValueError(
                "proxy=true with affine=false: the proxy activation holds the affine; "
                "set affine to true or proxy to false"
            )
        return self


class BatchStatisticsSpec(ActivationNormSpec):
    """Kinds with statistics over the batch: how they are tracked, and over how many samples."""

    batch_dependent: ClassVar[bool] = True
    stateful: ClassVar[bool] = True

    momentum: Optional[float] = Field(
        0.1,
        ge=0,
        le=1,
        description="weight of the new value in running statistics; null averages all batches",
    )
    virtual_batch_size: Optional[int] = Field(
        None, ge=1, description="take statistics over this many samples at a time (ghost batches)"
    )


class BatchNormSpec(BatchStatisticsSpec):
    """Statistics of each channel over the batch and all positions."""

    title: ClassVar[str] = "Batch Normalization"
    source: ClassVar[str] = "Ioffe and Szegedy 2015, arXiv:1502.03167"
    channelwise: ClassVar[bool] = True

    kind: Literal["batch"] = "batch"
    sync: bool = Field(False, description="share the statistics over all replicas")

    @model_validator(mode="after")
    def _sync_is_over_the_whole_batch(self) -> Self:
        if self.sync and self.virtual_batch_size is not None:
            raise ValueError(
                "sync=true with virtual_batch_size: one widens the statistics, the other narrows "
                "them; choose one"
            )
        return self


class LayerNormSpec(ActivationNormSpec):
    """Statistics of each sample over all channels and positions, affine per channel."""

    title: ClassVar[str] = "Layer Normalization"
    source: ClassVar[str] = "Ba, Kiros and Hinton 2016, arXiv:1607.06450"

    kind: Literal["layer"] = "layer"


class InstanceNormSpec(ActivationNormSpec):
    """Statistics of each channel of each sample over its positions."""

    title: ClassVar[str] = "Instance Normalization"
    source: ClassVar[str] = "Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022"
    channelwise: ClassVar[bool] = True
    keeps_expressivity: ClassVar[bool] = False

    kind: Literal["instance"] = "instance"


class GroupNormSpec(ActivationNormSpec):
    """Statistics of each sample over groups of channels and all positions."""

    title: ClassVar[str] = "Group Normalization"
    source: ClassVar[str] = "Wu and He 2018, arXiv:1803.08494"

    kind: Literal["group"] = "group"
    groups: int = Field(4, ge=1, le=65536, description="must divide the channels of every layer")
    grouping: Literal["contiguous", "strided"] = Field(
        "contiguous",
        description="channel c is in group c // (C / groups), or, strided, in c mod groups",
    )


class BatchRenormSpec(BatchStatisticsSpec):
    """Batch statistics corrected towards the running ones by clipped factors r and d."""

    title: ClassVar[str] = "Batch Renormalization"
    source: ClassVar[str] = "Ioffe 2017, arXiv:1702.03275"
    channelwise: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its statistics feed the same step, and its limits move by step"

    kind: Literal["batch_renorm"] = "batch_renorm"
    eps: float = Field(1e-3, gt=0, le=1, description="added to the variance")
    momentum: Optional[float] = Field(
        0.01,
        ge=0,
        le=1,
        description="weight of the new value in running statistics; null averages all batches",
    )
    clipping: Literal["steps", "progress", "constant", "none"] = Field(
        "steps",
        description="limits relax with the steps done, or with the run's progress, "
        "or stay at their final values, or there are none",
    )
    r_max: float = Field(3.0, ge=1, le=1e6, description="final limit of r, in [1/r_max, r_max]")
    d_max: float = Field(5.0, ge=0, le=1e6, description="final limit of d, in [-d_max, d_max]")
    warmup_steps: int = Field(5000, ge=0, description="steps with r = 1 and d = 0")
    r_steps: int = Field(40000, ge=1, description="step at which r's limit is final")
    d_steps: int = Field(25000, ge=1, description="step at which d's limit is final")
    progress_steps: int = Field(
        80000, ge=1, description='with clipping="progress", a whole run counts as so many steps'
    )
    variant: Literal["paper", "keras", "ludvb"] = Field(
        "paper",
        description="keras: separate statistics for inference; "
        "ludvb: sigma = sqrt(var) + eps and no eps at inference",
    )
    r_min: Optional[float] = Field(
        None, ge=0, le=1, description="final lower limit of r; null: 1 / the upper one"
    )
    inference_momentum: Optional[float] = Field(
        None, ge=0, le=1, description="keras: that of the inference statistics; null: momentum"
    )

    @model_validator(mode="after")
    def _limits_end_after_the_warmup(self) -> Self:
        if min(self.r_steps, self.d_steps) <= self.warmup_steps:
            raise ValueError(
                f"r_steps={self.r_steps}, d_steps={self.d_steps}, "
                f"warmup_steps={self.warmup_steps}: both must be larger than warmup_steps"
            )
        return self


class StreamingNormSpec(ActivationNormSpec):
    """Statistics and their gradients as weighted sums of a short- and a long-term estimate."""

    title: ClassVar[str] = "Streaming Normalization (from the paper's description)"
    source: ClassVar[str] = "Liao, Kawaguchi and Poggio 2016, arXiv:1610.06160"
    batch_dependent: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its gradient statistics are state that the backward pass changes"

    kind: Literal["streaming"] = "streaming"
    momentum: float = Field(0.1, gt=0, le=1, description="weight of the new in the long term")
    forward_short: float = Field(0.5, ge=0, le=1, description="short-term share of statistics")
    backward_short: float = Field(0.5, ge=0, le=1, description="short-term share of gradients")
    virtual_batch_size: Optional[int] = Field(
        None, ge=1, description="take this many samples at a time, as batches of one update"
    )


class L1BatchNormSpec(BatchStatisticsSpec):
    """Batch norm with the mean absolute deviation in place of the standard deviation."""

    title: ClassVar[str] = "L1 Batch Normalization"
    source: ClassVar[str] = "Hoffer, Banner, Golan and Soudry 2018, arXiv:1803.01814"
    channelwise: ClassVar[bool] = True

    kind: Literal["l1_batch"] = "l1_batch"
    constant: Literal["published", "consistent", "one"] = Field(
        "published", description="factor that makes the deviation an estimate of sigma"
    )
    running: Literal["standard", "reference"] = Field(
        "standard",
        description="standard: as batch norm; reference: average of the reciprocal scale, "
        "momentum on the old value, as the authors' code",
    )


class LinfBatchNormSpec(L1BatchNormSpec):
    """Batch norm with the largest absolute deviation."""

    title: ClassVar[str] = "L-infinity Batch Normalization"

    kind: Literal["linf_batch"] = "linf_batch"  # type: ignore[assignment]


class TopkBatchNormSpec(L1BatchNormSpec):
    """Batch norm with the mean of the k largest absolute deviations."""

    title: ClassVar[str] = "Top-k Batch Normalization"

    kind: Literal["topk_batch"] = "topk_batch"  # type: ignore[assignment]
    k: int = Field(10, ge=1, le=65536, description="deviations averaged; at most N*H*W")


class OnlineNormSpec(ActivationNormSpec):
    """Exponential averages over samples, with a control process in the backward pass."""

    title: ClassVar[str] = "Online Normalization"
    source: ClassVar[str] = "Chiley et al. 2019, arXiv:1905.05894"
    stateful: ClassVar[bool] = True
    channelwise: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its backward control process cannot be expressed on an IPU"

    kind: Literal["online"] = "online"
    alpha_forward: float = Field(0.999, ge=0, lt=1, description="decay of mean and variance")
    alpha_backward: float = Field(0.99, ge=0, lt=1, description="decay of the gradient control")
    error_compensation: Literal["layer_scaling", "clamp", "none"] = Field(
        "layer_scaling", description="what bounds the output when the statistics lag behind"
    )
    clamp_value: float = Field(5.0, gt=0, le=1e6, description="with clamp: |output| at most this")
    layer_scaling_eps: float = Field(1e-5, gt=0, le=1, description="added to the mean square")
    layer_scaling_group_size: Optional[int] = Field(
        None, ge=1, description="channels scaled together; null: all; must divide the channels"
    )


class SwitchableNormSpec(BatchStatisticsSpec):
    """A learned softmax mixture of instance, layer and batch statistics."""

    title: ClassVar[str] = "Switchable Normalization"
    source: ClassVar[str] = "Luo, Ren, Peng, Zhang and Li 2018, arXiv:1806.10779"

    kind: Literal["switchable"] = "switchable"
    batch_statistics: bool = Field(True, description="false: mix instance and layer only")
    unbiased_reference: bool = Field(
        False, description="unbiased instance variance (1-d: all), as the authors' code"
    )
    running: Literal["moving", "average"] = Field(
        "moving",
        description="moving: exponential average by momentum; average: moments of all batches "
        "as one, the batch average of the authors' code",
    )


class SparseSwitchableNormSpec(BatchStatisticsSpec):
    """A SparsestMax mixture of instance, layer and batch statistics that becomes one-hot."""

    title: ClassVar[str] = "Sparse Switchable Normalization"
    source: ClassVar[str] = "Shao et al. 2019, arXiv:1903.03793"
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its sparse projection chooses its steps from the data"

    kind: Literal["sparse_switchable"] = "sparse_switchable"
    momentum: Optional[float] = Field(
        0.003,
        ge=0,
        le=1,
        description="weight of the new value in running statistics; null averages all batches",
    )
    unbiased_reference: bool = Field(
        False, description="unbiased instance variance, as the authors' code"
    )
    variant: Literal["paper", "reference"] = Field(
        "paper", description="the projection that the paper defines, or the authors' code"
    )
    radius: Optional[float] = Field(
        None, ge=0, le=1, description="fixed radius; null: grows with the run's progress"
    )
    radius_end: float = Field(1.0, ge=0, le=1, description="radius at the end of the run")
    running: Literal["moving", "average"] = Field(
        "moving",
        description="moving: exponential average by momentum; average: moments of all batches "
        "as one, the batch average of the authors' code",
    )


class MetaNormSpec(BatchStatisticsSpec):
    """Statistics shared over the samples and channels that binary matrices U and V connect."""

    title: ClassVar[str] = "Meta Normalization"
    source: ClassVar[str] = "Shao, slides on normalization; gates: Zhang et al., arXiv:1908.05867"

    kind: Literal["meta"] = "meta"
    samples: Literal["own", "batch", "learned"] = Field(
        "own", description="U: each sample alone, the whole batch, or a learned gate"
    )
    channels: Literal["own", "groups", "all", "learned"] = Field(
        "learned", description="V: each channel alone, groups, all, or learned Kronecker gates"
    )
    groups: int = Field(4, ge=1, le=65536, description='with channels="groups"')
    gate_init: Literal["own", "all"] = Field(
        "all", description="what learned gates start from: nothing shared, or everything"
    )


class WeightNormSpec(NormSpec):
    """Weights of each output channel as a learned length times a direction."""

    title: ClassVar[str] = "Weight Normalization"
    source: ClassVar[str] = "Salimans and Kingma 2016, arXiv:1602.07868"
    acts_on: ClassVar[Literal["activations", "weights", "nothing"]] = "weights"

    kind: Literal["weight"] = "weight"
    include_linear: bool = Field(False, description="linear layers too, not only convolutions")


class BoundedWeightNormSpec(NormSpec):
    """Weight norm whose length stays what it was at the start."""

    title: ClassVar[str] = "Bounded Weight Normalization"
    source: ClassVar[str] = "Hoffer, Banner, Golan and Soudry 2018, arXiv:1803.01814"
    acts_on: ClassVar[Literal["activations", "weights", "nothing"]] = "weights"

    kind: Literal["bounded_weight"] = "bounded_weight"
    rho: Literal["rms", "mean", "learned"] = Field(
        "rms",
        description="length of every channel: root mean square or mean of the initial lengths, "
        "or learned with a fixed total",
    )
    p: Literal["2", "inf"] = Field("2", description="norm that measures a channel's length")
    renormalize: bool = Field(
        False, description="also rescale the stored weights to length 1 before each training use"
    )
    include_linear: bool = Field(False, description="linear layers too, not only convolutions")


class NoNormSpec(NormSpec):
    """No normalization: the activation alone."""

    title: ClassVar[str] = "No normalization"
    source: ClassVar[str] = "the baseline"
    acts_on: ClassVar[Literal["activations", "weights", "nothing"]] = "nothing"

    kind: Literal["none"] = "none"


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
