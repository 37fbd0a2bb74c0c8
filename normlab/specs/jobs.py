"""A training job: what to train, on what, how, and where."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal, Union

from pydantic import Field, field_validator

from normlab.specs import devices
from normlab.specs.base import Label, Spec
from normlab.specs.json_values import Count
from normlab.specs.normalizers import NormalizerSpec
from normlab.specs.optimization import (
    SGD,
    AugmentationSpec,
    CheckpointSpec,
    Cosine,
    OptimizerSpec,
    ScheduleSpec,
)

IpuRuntime = Literal["hardware", "ipu_model", "emulated"]
if TYPE_CHECKING:
    Device = str
    Precision = str
    Acceleration = str
else:  # the names in the table of devices
    Device = Literal[("auto", *devices.KINDS)]
    Precision = Literal[devices.PRECISIONS]
    Acceleration = Literal[devices.ACCELERATIONS]

# How a job is run, not what it computes: not part of its fingerprint.
_ERRANDS = {"name", "priority", "max_attempts", "time_limit_s", "checkpoint"}


class ModelSpec(Spec):
    """A network of the catalogue (`GET /v1/models`)."""

    name: Label = Field("preresnet8", max_length=64, description="a name of GET /v1/models")
    width: Union[int, None] = Field(
        None, ge=1, le=4096, description="channels of the first stage; null: the model's own"
    )
    zero_last_scale: bool = Field(
        False,
        description="start the scale of the last normalizer of each residual branch at 0, so that "
        "every block starts as its shortcut (resnets only)",
    )


class DatasetSpec(Spec):
    """A dataset of the catalogue (`GET /v1/datasets`)."""

    name: Label = Field("shapes32", max_length=64, description="a name of GET /v1/datasets")
    folder: Union[str, None] = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=128,
        description="image_folder only: the folder's name below the operator's data root",
    )
    image_size: Union[int, None] = Field(
        None, ge=8, le=1024, description="image_folder only: pixels of a side after resizing"
    )
    train_size: Union[Count, None] = Field(
        None, description="train on the first so many samples; null: all"
    )
    test_size: Union[Count, None] = Field(
        None, description="evaluate on the first so many samples; null: all"
    )


class JobSpec(Spec):
    """One training job. `batch_size` is what one call of a normalizer sees (the micro-batch)."""

    name: Union[Label, None] = Field(None, max_length=200, description="a label for people")
    normalizer: NormalizerSpec = Field(description="a kind's name, or an object with its options")
    model: ModelSpec = Field(default_factory=ModelSpec)
    dataset: DatasetSpec = Field(default_factory=DatasetSpec)
    batch_size: int = Field(32, ge=1, le=65_536, description="samples a normalizer call sees")
    gradient_accumulation: int = Field(
        1, ge=1, le=4096, description="micro-batches whose gradients are averaged per update"
    )
    replicas: int = Field(1, ge=1, le=64, description="data-parallel copies of the model")
    device: Device = Field("auto", description="where to train; auto gives its reason")
    ipu_runtime: IpuRuntime = Field(
        "hardware", description="ipu only: the device, Graphcore's simulator, or host emulation"
    )
    epochs: int = Field(
        5, ge=0, le=100_000, description="passes over the training set; 0 trains nothing at all"
    )
    max_steps: Union[Count, None] = Field(None, description="stop after so many updates")
    evaluate_every: int = Field(1, ge=1, le=100_000, description="epochs between evaluations")
    optimizer: OptimizerSpec = Field(default_factory=SGD)
    schedule: ScheduleSpec = Field(default_factory=Cosine)
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="mass moved to all classes")
    augmentation: AugmentationSpec = Field(default_factory=AugmentationSpec)
    precision: Precision = Field("float32", description="of activations; statistics stay float32")
    tf32: bool = Field(False, description="cuda only: let float32 products round to TF32")
    acceleration: Acceleration = Field(
        "none",
        description="cuda_graphs, compile: cuda only, for launch-bound steps; kernels: cpu only, "
        "normalizers in loops compiled from C++, on workers that have a compiler",
    )
    deterministic: bool = Field(True, description="refuse operators with random summation order")
    threads: Union[int, None] = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads; null: what updates gain from, of the slot's cores",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="of weights, data order, augmentation")
    diagnostics: tuple[Label, ...] = Field(
        (), max_length=32, description="names of GET /v1/diagnostics"
    )
    checkpoint: CheckpointSpec = Field(default_factory=CheckpointSpec)
    priority: int = Field(0, ge=-100, le=100, description="higher runs earlier")
    max_attempts: int = Field(3, ge=1, le=100, description="attempts before the job fails")
    time_limit_s: Union[float, None] = Field(
        None, gt=0, description="seconds of running time over all attempts"
    )

    @property
    def samples_per_update(self) -> int:
        """The number of samples whose gradients one update averages."""
        return self.batch_size * self.gradient_accumulation * self.replicas

    def fingerprint(self) -> str:
        """Hash what the job computes, in 64 hex digits: equal jobs, equal fingerprints."""
        science = self.model_dump(mode="json", exclude=_ERRANDS)
        if self.optimizer.norms_of is None:  # then they say nothing
            for field in ("norms_of", "norm_mode", "norm_ratio_limit"):
                del science["optimizer"][field]
        if self.optimizer.clip_ratio is None:
            del science["optimizer"]["clip_ratio"]
        text = json.dumps(science, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def twin(self) -> JobSpec:
        """Return the same job without the norms of another."""
        free = {"norms_of": None, "norm_mode": "rate", "norm_ratio_limit": None}
        return self.model_copy(update={"optimizer": self.optimizer.model_copy(update=free)})

    @field_validator("diagnostics")
    @classmethod
    def _each_diagnostic_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))
