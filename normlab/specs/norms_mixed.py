"""Kinds that learn which statistics they use: options with their limits, and facts."""

from __future__ import annotations

from typing import ClassVar, List, Optional, Tuple

from pydantic import Field
from typing_extensions import Literal

from normlab.errors import FieldProblem
from normlab.specs.norm_base import BatchStatisticsSpec, groups_problem


class MixtureSpec(BatchStatisticsSpec):
    """Kinds that mix the moments of instance, layer and batch norm."""

    batch_statistics: bool = Field(
        True,
        description="also mix statistics of the batch; false: mix only those of instance and layer",
    )
    running: Literal["moving", "average"] = Field(
        "moving",
        description="statistics in evaluation mode. moving: an exponential average with "
        "`momentum`. average: the moments of all batches as one, which the authors' code calls "
        "batch average",
    )

    def problems_on_ipu(self) -> List[FieldProblem]:
        """List why an IPU cannot run it with these options."""
        found = super().problems_on_ipu()
        if self.running == "average":
            rule = "'average' counts batches, which an IPU compiles as a constant; use 'moving'"
            found.append(FieldProblem("normalizer.running", rule))
        return found


class SwitchableNormSpec(MixtureSpec):
    """A learned softmax mixture of instance, layer and batch statistics."""

    title: ClassVar[str] = "Switchable Normalization"
    source: ClassVar[str] = "Luo, Ren, Peng, Zhang and Li 2018, arXiv:1806.10779"
    layer: ClassVar[Optional[str]] = "normlab.norms.switchable:SwitchableNorm"
    graph_refusal: ClassVar[Optional[str]] = None

    kind: Literal["switchable"] = "switchable"
    unbiased_reference: bool = Field(
        False,
        description="use the unbiased instance variance (in one dimension all variances), "
        "as the authors' code does",
    )


class SparseSwitchableNormSpec(MixtureSpec):
    """A SparsestMax mixture of instance, layer and batch statistics that becomes one-hot."""

    title: ClassVar[str] = "Sparse Switchable Normalization"
    source: ClassVar[str] = "Shao et al. 2019, arXiv:1903.03793"
    layer: ClassVar[Optional[str]] = "normlab.norms.sparse_switchable:SparseSwitchableNorm"
    graph_refusal: ClassVar[Optional[str]] = (
        "its radius follows the training, and frozen units skip statistics"
    )
    runs_on_ipu: ClassVar[bool] = False
    packed_by_member: ClassVar[bool] = True
    ipu_reason: ClassVar[str] = "its sparse projection chooses its steps from the data"

    kind: Literal["sparse_switchable"] = "sparse_switchable"
    momentum: Optional[float] = Field(
        0.003,
        ge=0,
        le=1,
        description="weight of the new value in running statistics; null: the average over all "
        "batches",
    )
    unbiased_reference: bool = Field(
        False, description="use the unbiased instance variance, as the authors' code does"
    )
    variant: Literal["paper", "reference"] = Field(
        "paper", description="the projection that the paper defines, or that of the authors' code"
    )
    radius: Optional[float] = Field(
        None,
        ge=0,
        le=1,
        description="fixed radius of the projection; null: a radius that grows with the "
        "run's progress",
    )
    radius_end: float = Field(1.0, ge=0, le=1, description="radius at the end of the run")

    @property
    def follows_progress(self) -> bool:
        """Whether its radius grows with the run's progress."""
        return self.radius is None


class MetaNormSpec(BatchStatisticsSpec):
    """Statistics shared over the samples and channels that binary matrices U and V connect."""

    title: ClassVar[str] = "Meta Normalization"
    source: ClassVar[str] = "Shao, slides on normalization; gates: Zhang et al., arXiv:1908.05867"
    layer: ClassVar[Optional[str]] = "normlab.norms.meta:MetaNorm"
    graph_refusal: ClassVar[Optional[str]] = None
    packed_options: ClassVar[Tuple[str, ...]] = ("momentum",)

    kind: Literal["meta"] = "meta"
    samples: Literal["own", "batch", "learned"] = Field(
        "own",
        description="samples that share statistics (matrix U): each sample alone, the whole "
        "batch, or what a learned gate chooses",
    )
    channels: Literal["own", "groups", "all", "learned"] = Field(
        "learned",
        description="channels that share statistics (matrix V): each channel alone, groups, "
        "all, or what learned Kronecker gates choose",
    )
    groups: int = Field(4, ge=1, le=65536, description='number of groups, with channels="groups"')
    gate_init: Literal["own", "all"] = Field(
        "all",
        description="where learned gates start: with nothing shared, or with everything shared",
    )

    def problem_with_channels(self, channels: int) -> Optional[FieldProblem]:
        """Return that groups or gates do not fit the channels, or None."""
        if self.channels == "groups":
            return groups_problem(self.groups, channels)
        if self.channels == "learned" and channels & (channels - 1):
            rule = f"learned gates need a power of two, not {channels} channels"
            return FieldProblem("normalizer.channels", f"{rule}; use channels='groups'")
        return None

    def problem_with_values(self, samples: int, side: int) -> Optional[FieldProblem]:
        """Return the problem that one value has no spread, unless channels share statistics."""
        return None if self.channels != "own" else super().problem_with_values(samples, side)
