"""The fields of a training job: what to train, on what, how, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Tuple, Union

from pydantic import Field, StringConstraints, ValidationInfo, field_validator
from typing_extensions import Annotated

from normlab.specs import devices, registries
from normlab.specs.augmentations import AugmentationByName
from normlab.specs.base import Label, Spec, is_stored, or_its_name
from normlab.specs.json_values import Count
from normlab.specs.named_parts import HookParts, MetricParts, TaskOptions
from normlab.specs.network_and_data import DatasetSpec, LoadingSpec, ModelSpec
from normlab.specs.normalizers import NormalizerSpec
from normlab.specs.optimization import AugmentationSpec, AverageSpec, CheckpointSpec, LossSpec
from normlab.specs.optimizers import SGD, OptimizerSpec
from normlab.specs.schedules import Cosine, ScheduleSpec
from normlab.specs.starting_weights import Continuation, InitFrom

IpuRuntime = Literal["hardware", "ipu_model", "emulated"]
Sharding = Literal["auto", "off", "full"]
if TYPE_CHECKING:
    Device = str
    Precision = str
    Acceleration = str
else:  # the names in the table of devices
    Device = Literal[("auto", *devices.KINDS)]
    Precision = Literal[devices.PRECISIONS]
    Acceleration = Literal[devices.ACCELERATIONS]

MOST_PLUGINS, MOST_AUGMENTATIONS, MOST_HOSTS = 16, 6, 64
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
"""SHA-256 of a plugin's source, in hex digits."""


class JobFields(Spec):
    """The fields of a job, each with the rules about its own value."""

    name: Union[Label, None] = Field(None, max_length=200, description="the name that people see")
    normalizer: NormalizerSpec = Field(
        description="the name of a kind, or an object with its options"
    )
    model: Annotated[ModelSpec, or_its_name(ModelSpec)] = Field(
        default_factory=ModelSpec,
        description="the name of a network, or an object with its options",
    )
    dataset: Annotated[DatasetSpec, or_its_name(DatasetSpec)] = Field(
        default_factory=DatasetSpec,
        description="the name of a dataset, or an object with its options",
    )
    task: TaskOptions = Field(
        default_factory=TaskOptions,
        description="options of the dataset's task, if it is your own",
    )
    batch_size: int = Field(
        32, ge=1, le=65_536, description="number of samples in one call of a normalizer"
    )
    gradient_accumulation: int = Field(
        1, ge=1, le=4096, description="number of micro-batches whose gradients an update averages"
    )
    replicas: int = Field(1, ge=1, le=64, description="number of data-parallel copies of the model")
    hosts: Union[int, None] = Field(
        None,
        ge=1,
        le=MOST_HOSTS,
        description="number of hosts that share the replicas; null: one",
    )
    sharding: Union[Sharding, None] = Field(
        None,
        description="whether weights, gradients and optimizer state are divided among the "
        "replicas: off, full, or auto; null: auto, which divides them if they do not fit into a "
        "replica's memory",
    )
    device: Device = Field(
        "auto", description="the device to train on; auto chooses one and gives the reason"
    )
    ipu_runtime: IpuRuntime = Field(
        "hardware",
        description=f"{devices.those(lambda facts: facts.simulated)} only: train on the device, "
        "on Graphcore's simulator, or in an emulation on the host",
    )
    epochs: int = Field(
        5,
        ge=0,
        le=100_000,
        description="number of passes over the training set; 0 evaluates without training",
    )
    max_steps: Union[Count, None] = Field(
        None, description="number of updates after which training stops; null: `epochs` decides"
    )
    evaluate_every: int = Field(
        1, ge=1, le=100_000, description="number of epochs between evaluations"
    )
    optimizer: OptimizerSpec = Field(default_factory=SGD)
    schedule: ScheduleSpec = Field(default_factory=Cosine)
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="probability that is spread evenly over all classes"
    )
    loss: Union[Annotated[LossSpec, or_its_name(LossSpec)], None] = Field(
        None, description="the loss; null: the loss of the task"
    )
    augmentation: AugmentationSpec = Field(default_factory=AugmentationSpec)
    augmentations: Tuple[AugmentationByName, ...] = Field(
        (),
        max_length=MOST_AUGMENTATIONS,
        description="random changes to the training samples, applied in this order: names, or "
        "objects with their options",
    )
    ema: Union[AverageSpec, None] = Field(
        None,
        description="moving average of the weights, which is evaluated in their place; "
        "null: no average",
    )
    precision: Precision = Field(
        "float32", description="number format of activations; statistics stay in float32"
    )
    tf32: bool = Field(
        False,
        description=f"{devices.those(lambda facts: facts.rounds_to_tf32)} only: round the inputs "
        "of float32 products to TF32",
    )
    acceleration: Acceleration = Field(
        "none",
        description="how updates are made faster. cuda_graphs and compile are for steps that "
        "wait for kernel launches (cuda only). triton and triton_graphs compute normalizers in "
        "Triton kernels, the second within a graph (cuda only; checked in Triton's interpreter, "
        "and never run on a GPU). kernels computes normalizers in loops compiled from C++, on "
        "workers that have a compiler (cpu only)",
    )
    deterministic: bool = Field(True, description="refuse operators that sum in a random order")
    threads: Union[int, None] = Field(
        None,
        ge=1,
        le=1024,
        description="number of CPU threads; null: as many of the slot's cores as make updates "
        "faster",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        description="seed of the initial weights, the order of the data and the augmentation",
    )
    diagnostics: tuple[Label, ...] = Field(
        (),
        max_length=32,
        description="diagnostics to record, by their names in GET /v1/diagnostics",
    )
    metrics: MetricParts = Field(
        (), max_length=32, description="further metrics of the test set, besides those of the task"
    )
    hooks: HookParts = Field(
        (), max_length=32, description="your own hooks, which run at the end of updates and epochs"
    )
    checkpoint: CheckpointSpec = Field(default_factory=CheckpointSpec)
    loading: LoadingSpec = Field(default_factory=LoadingSpec)
    init_from: Union[InitFrom, None] = Field(
        None, description="trained weights to start from: the id of a job, a file, or an object"
    )
    freeze: Tuple[Label, ...] = Field(
        (),
        max_length=64,
        description='parameters that are not trained: patterns of names, such as "0.*"',
    )
    continues: Union[Continuation, None] = Field(
        None,
        description="the checkpoint of a shorter job that this job continues; `normlab "
        "continue` fills it in",
    )
    code: Tuple[Digest, ...] = Field(
        (),
        max_length=MOST_PLUGINS,
        description="plugins that the job uses, by the SHA-256 of their source; name those that "
        "you uploaded, and the service adds those of the operator",
    )
    priority: int = Field(0, ge=-100, le=100, description="jobs with a higher priority run earlier")
    max_attempts: int = Field(3, ge=1, le=100, description="largest number of attempts")
    time_limit_s: Union[float, None] = Field(
        None, gt=0, description="largest running time of all attempts together, in seconds"
    )

    @field_validator("code")
    @classmethod
    def _every_plugin_is_known(cls, digests: Tuple[str, ...], info: ValidationInfo) -> Any:
        for digest in digests:
            if not is_stored(info) and registries.find(digest) is None:
                raise ValueError(f"no plugin has the digest {digest}; upload its source first")
        return digests

    @field_validator("hosts")
    @classmethod
    def _one_host_is_the_usual(cls, hosts: Union[int, None]) -> Union[int, None]:
        return None if hosts == 1 else hosts  # both are the same job, with one fingerprint

    @field_validator("sharding")
    @classmethod
    def _auto_is_the_usual(cls, sharding: Union[Sharding, None]) -> Union[Sharding, None]:
        return None if sharding == "auto" else sharding

    @field_validator("diagnostics")
    @classmethod
    def _each_name_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))
