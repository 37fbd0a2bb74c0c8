"""Kinds that take their statistics over the batch: options with their limits, and facts."""

from __future__ import annotations

from typing import ClassVar, List, Optional, Tuple

from pydantic import Field, model_validator
from typing_extensions import Literal, Self

from normlab.errors import FieldProblem
from normlab.specs.json_values import MAX_COUNT, Count
from normlab.specs.norm_base import ActivationNormSpec, BatchStatisticsSpec


class BatchNormSpec(BatchStatisticsSpec):
    """Statistics of each channel over the batch and all positions."""

    title: ClassVar[str] = "Batch Normalization"
    source: ClassVar[str] = "Ioffe and Szegedy 2015, arXiv:1502.03167"
    layer: ClassVar[Optional[str]] = "normlab.norms.batch:BatchNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    native: ClassVar[bool] = True
    packed_options: ClassVar[Tuple[str, ...]] = ("momentum",)
    keeps_channels_last: ClassVar[bool] = True
    channelwise: ClassVar[bool] = True

    kind: Literal["batch"] = "batch"
    sync: bool = Field(False, description="take the statistics over all replicas")

    def problems_on_ipu(self) -> List[FieldProblem]:
        """List why an IPU cannot run it with these options."""
        found = super().problems_on_ipu()
        if self.sync:
            rule = "PopTorch has no synchronised batch norm; set sync to false"
            found.append(FieldProblem("normalizer.sync", rule))
        return found

    @model_validator(mode="after")
    def _sync_is_over_the_whole_batch(self) -> Self:
        if self.sync and self.virtual_batch_size is not None:
            raise ValueError(
                "sync=true with virtual_batch_size: one widens the statistics, the other narrows "
                "them; choose one"
            )
        return self


class BatchRenormSpec(BatchStatisticsSpec):
    """Batch statistics corrected towards the running ones by clipped factors r and d."""

    title: ClassVar[str] = "Batch Renormalization"
    source: ClassVar[str] = "Ioffe 2017, arXiv:1702.03275"
    layer: ClassVar[Optional[str]] = "normlab.norms.batch_renorm:BatchRenorm"
    graph_refusal: ClassVar[Optional[str]] = "its limits r and d follow the training"
    packed_options: ClassVar[Tuple[str, ...]] = ("momentum",)
    channelwise: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its statistics feed the same step, and its limits move by step"

    kind: Literal["batch_renorm"] = "batch_renorm"
    eps: float = Field(1e-3, gt=0, le=1, description="number that is added to the variance")
    momentum: Optional[float] = Field(
        0.01,
        ge=0,
        le=1,
        description="weight of the new value in running statistics; null: the average over all "
        "batches",
    )
    clipping: Literal["steps", "progress", "constant", "none"] = Field(
        "steps",
        description="how the limits of r and d relax: with the number of steps, or with the "
        "run's progress; or they have their final values from the start, or there are none",
    )
    r_max: float = Field(
        3.0, ge=1, le=1e6, description="final limit of r: it stays in [1/r_max, r_max]"
    )
    d_max: float = Field(
        5.0, ge=0, le=1e6, description="final limit of d: it stays in [-d_max, d_max]"
    )
    warmup_steps: int = Field(
        5000, ge=0, le=MAX_COUNT, description="number of first steps with r = 1 and d = 0"
    )
    r_steps: Count = Field(40000, description="step from which the limit of r is final")
    d_steps: Count = Field(25000, description="step from which the limit of d is final")
    progress_steps: Count = Field(
        80000,
        description='with clipping="progress": number of steps for which the whole run counts',
    )
    variant: Literal["paper", "keras", "ludvb"] = Field(
        "paper",
        description="the published code to follow. keras: separate statistics for inference. "
        "ludvb: sigma = sqrt(var) + eps, and no eps at inference",
    )
    r_min: Optional[float] = Field(
        None, ge=0, le=1, description="final lower limit of r; null: 1 / r_max"
    )
    inference_momentum: Optional[float] = Field(
        None,
        ge=0,
        le=1,
        description="for keras: momentum of the statistics for inference; null: the same as "
        "momentum",
    )

    @property
    def follows_progress(self) -> bool:
        """Whether its limits relax with the run's progress."""
        return self.clipping == "progress"

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
    layer: ClassVar[Optional[str]] = "normlab.norms.streaming:StreamingNorm"
    graph_refusal: ClassVar[Optional[str]] = "it notices in Python when the weights have changed"
    shard_refusal: ClassVar[Optional[str]] = (
        "it notices an update by its weights, and those of a shard are new at each step"
    )
    batch_dependent: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    packed_by_member: ClassVar[bool] = True
    runs_on_ipu: ClassVar[bool] = False
    ipu_reason: ClassVar[str] = "its gradient statistics are state that the backward pass changes"

    kind: Literal["streaming"] = "streaming"
    momentum: float = Field(
        0.1, gt=0, le=1, description="weight of the new value in the long-term statistics"
    )
    forward_short: float = Field(
        0.5, ge=0, le=1, description="share of the short-term statistics in the forward pass"
    )
    backward_short: float = Field(
        0.5, ge=0, le=1, description="share of the short-term gradients in the backward pass"
    )
    virtual_batch_size: Optional[int] = Field(
        None,
        ge=1,
        le=65_536,
        description="take statistics over groups of this many samples, as if they were batches "
        "of one update",
    )


class L1BatchNormSpec(BatchStatisticsSpec):
    """Batch norm with the mean absolute deviation in place of the standard deviation."""

    title: ClassVar[str] = "L1 Batch Normalization"
    source: ClassVar[str] = "Hoffer, Banner, Golan and Soudry 2018, arXiv:1803.01814"
    layer: ClassVar[Optional[str]] = "normlab.norms.lp_batch:L1BatchNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    packed_options: ClassVar[Tuple[str, ...]] = ("momentum",)
    channelwise: ClassVar[bool] = True

    kind: Literal["l1_batch"] = "l1_batch"
    constant: Literal["published", "consistent", "one"] = Field(
        "published", description="factor that makes the deviation an estimate of sigma"
    )
    running: Literal["standard", "reference"] = Field(
        "standard",
        description="how running statistics are averaged. standard: as in batch norm. "
        "reference: as in the authors' code, which averages the reciprocal scale and applies "
        "momentum to the old value",
    )


class LinfBatchNormSpec(L1BatchNormSpec):
    """Batch norm with the largest absolute deviation."""

    title: ClassVar[str] = "L-infinity Batch Normalization"
    layer: ClassVar[Optional[str]] = "normlab.norms.lp_batch:LinfBatchNorm"

    kind: Literal["linf_batch"] = "linf_batch"  # type: ignore[assignment]


class TopkBatchNormSpec(L1BatchNormSpec):
    """Batch norm with the mean of the k largest absolute deviations."""

    title: ClassVar[str] = "Top-k Batch Normalization"
    layer: ClassVar[Optional[str]] = "normlab.norms.lp_batch:TopkBatchNorm"

    kind: Literal["topk_batch"] = "topk_batch"  # type: ignore[assignment]
    k: int = Field(
        10,
        ge=1,
        le=65536,
        description="number of largest deviations that are averaged; at most N*H*W",
    )

    def problem_with_values(self, samples: int, side: int) -> Optional[FieldProblem]:
        """Return the problem that the smallest layer has fewer values than k, if so."""
        values = samples * side * side
        if self.k > values:
            rule = f"k={self.k}, but the smallest layer has {values} values per channel; lower k"
            return FieldProblem("normalizer.k", rule)
        return super().problem_with_values(samples, side)
