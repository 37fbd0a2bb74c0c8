"""The base of all normalizer specifications: the facts and checks of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, List, Mapping, Optional, Tuple

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Literal, Self

from normlab.errors import FieldProblem, InvalidSpec, refuse
from normlab.specs.base import Spec
from normlab.specs.problems import explain

ActsOn = Literal["activations", "weights", "both", "nothing"]

_FOR_GATES = "use 'layer', 'group', 'rms', 'dyt', 'online' or 'none'"


class NormSpec(Spec):
    """
    The base of all kinds: common facts, and checks that each kind defines for itself.

    A kind is this class, its layer, and its line in `normalizers.SPECS`.
    """

    if TYPE_CHECKING:
        kind: Any = ""  # each kind has its own literal

    layer: ClassVar[Optional[str]] = None  # module:class of the layer; None acts on no activation
    title: ClassVar[str]
    source: ClassVar[str]
    batch_dependent: ClassVar[bool] = False  # whether an output depends on the rest of the batch
    stateful: ClassVar[bool] = False  # whether buffers change in training
    channelwise: ClassVar[bool] = False  # whether every channel gets mean 0 and variance 1
    keeps_expressivity: ClassVar[bool] = True  # whether no statistic of a sample is lost
    within_token: ClassVar[bool] = False  # whether each token is normalized alone, as by layer norm
    acts_on: ClassVar[ActsOn] = "activations"
    runs_on_ipu: ClassVar[bool] = True
    ipu_reason: ClassVar[str] = "plain operators differentiate it"
    without_proxy: ClassVar[str] = "has no affine of a normalized activation to replace"
    to_keep_activation: ClassVar[str] = ""  # how to leave its activation out, if that is possible
    # The reason why a recorded step cannot be replayed; None if it can.
    graph_refusal: ClassVar[Optional[str]] = "no test has shown that a recording of it is complete"
    shard_refusal: ClassVar[Optional[str]] = None  # why replicas cannot divide its parameters
    keeps_channels_last: ClassVar[bool] = False  # so cheap in this layout that tensor cores gain
    native: ClassVar[bool] = False  # whether it costs on a CPU what torch's own operators cost
    packed_by_member: ClassVar[bool] = False  # whether members of a pack run it one after the other
    packed_options: ClassVar[Tuple[str, ...]] = ()  # options that may differ in one layer of a pack

    @property
    def acts_on_weights(self) -> bool:
        """Whether it computes the weights of filters."""
        return self.acts_on in ("weights", "both")

    @property
    def fuses_activation(self) -> bool:
        """Whether the activation after it becomes a part of it."""
        return False

    def for_activations(self) -> NormSpec:
        """Return the spec of the layer at the places where activations are normalized."""
        return self

    @classmethod
    def checked(cls, channels: int, /, **options: Any) -> Self:
        """
        Return the spec with *options*, as a layer of *channels* channels asks for it.

        Raises:
            InvalidSpec: with one problem for each option that breaks a rule.
        """
        try:
            spec = cls.model_validate(options)
        except ValidationError as e:
            raise InvalidSpec.of(explain(e.errors(), options, cls, at="normalizer")) from e
        problem = spec.problem_with_channels(channels)
        refuse([] if problem is None else [problem])
        return spec

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return the problem with a layer of *channels* channels; None if there is none."""

    def problem_with_values(self, samples: int, side: int) -> Optional[FieldProblem]:
        """Return the problem with statistics over *samples* maps of *side* x *side*, or None."""

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return why it cannot be used at the gates of a recurrent net; None if it can."""
        if self.acts_on_weights:
            rule = "is designed for filters, and a recurrent net has none"
            return self.problem_of_kind(f"{rule}; {_FOR_GATES}")
        if self.batch_dependent:
            rule = "has batch statistics, which differ from one time step to the next"
            return self.problem_of_kind(f"{rule}; {_FOR_GATES}")
        return None

    @property
    def follows_progress(self) -> bool:
        """Whether it depends on the finished share of the training, and so on its length."""
        return False

    def over_gates(self, gates: int, width: int) -> NormSpec:
        """Return a spec that normalizes *gates* of *width* units together as this does each one."""
        return self

    def problems_on_ipu(self) -> List[FieldProblem]:
        """List why an IPU cannot run it with these options."""
        if self.runs_on_ipu:
            return []
        return [self.problem_of_kind(f"cannot run on an IPU: {self.ipu_reason}")]

    def problem_of_kind(self, rule: str) -> FieldProblem:
        """Return a problem of the kind as a whole; *rule* continues the sentence after its name."""
        return FieldProblem("normalizer.kind", f"{self.kind!r} {rule}")

    @model_validator(mode="before")
    @classmethod
    def _refuse_proxy_elsewhere(cls, values: Any) -> Any:
        unknown = cls.model_config.get("extra") != "allow" and "proxy" not in cls.model_fields
        if isinstance(values, Mapping) and "proxy" in values and unknown:
            kind = cls.model_fields["kind"].default
            raise ValueError(
                f"{kind!r} cannot take proxy: it {cls.without_proxy}; leave proxy out, or use a "
                "kind such as 'group'"
            )
        return values


class ActivationNormSpec(NormSpec):
    """Kinds that normalize activations: eps, the affine, and the proxy-normalized activation."""

    eps: float = Field(1e-5, gt=0, le=1, description="number that is added to the variance")
    affine: bool = Field(True, description="learn a scale and a shift for each channel")
    proxy: bool = Field(
        False,
        description="move scale and shift into a proxy-normalized activation after the normalizer",
    )
    proxy_eps: float = Field(
        0.03, gt=0, le=1, description="number that is added to the proxy variance"
    )
    quadrature: Literal["exact", "midpoint200"] = Field(
        "exact",
        description="how the expectation over the proxy is computed: in closed form for ReLU "
        "and by Gauss-Hermite quadrature otherwise, or with the 200 equiprobable midpoints of "
        "the published code",
    )
    proxy_weight_decay: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of a decay that pulls the extra mean and scale of the proxy "
        "back to those of N(0, 1)",
    )

    @property
    def fuses_activation(self) -> bool:
        """Whether the activation after it becomes a part of it."""
        return self.proxy

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return why it cannot be used at the gates of a recurrent net; None if it can."""
        if self.proxy:
            rule = "gates end in a sigmoid or tanh, and the proxy knows neither"
            return FieldProblem("normalizer.proxy", f"{rule}; set proxy to false")
        return super().problem_in_recurrence()

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
        description="weight of the new value in running statistics; null: the average over all "
        "batches",
    )
    virtual_batch_size: Optional[int] = Field(
        None,
        ge=1,
        le=65_536,
        description="take statistics over groups of this many samples (ghost batches)",
    )

    def problem_with_values(self, samples: int, side: int) -> Optional[FieldProblem]:
        """Return the problem that a single value has no spread and would always become 0."""
        if samples * side * side > 1:
            return None
        rule = f"statistics over 1 sample of a {side}x{side} map are over one value"
        return FieldProblem(
            "batch_size", f"{rule}; use 2 samples or more, larger images, or a kind such as 'group'"
        )

    def problems_on_ipu(self) -> List[FieldProblem]:
        """List why an IPU cannot run it with these options."""
        found = super().problems_on_ipu()
        if self.momentum is None:
            rule = "null counts batches in an integer buffer, which an IPU compiles as a constant"
            found.append(FieldProblem("normalizer.momentum", f"{rule}; give a number such as 0.1"))
        return found


def divisors(n: int) -> str:
    """Return the divisors of *n* as a text for a message."""
    return ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)


def groups_problem(groups: int, channels: int) -> Optional[FieldProblem]:
    """Return the problem that *groups* do not divide *channels*; None if they do."""
    if channels % groups == 0:
        return None
    rule = f"groups={groups} does not divide {channels} channels; use one of {divisors(channels)}"
    return FieldProblem("normalizer.groups", rule)
