"""A training job: what to train, on what, how, and where."""

from __future__ import annotations

import hashlib
import json
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Literal,
    Mapping,
    Tuple,
    Union,
)

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import Annotated

from normlab.specs import devices, registries
from normlab.specs.augmentations import AUGMENTATIONS, AugmentationByName
from normlab.specs.base import Label, Spec, is_stored, or_its_name
from normlab.specs.datasets import DATASETS
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.json_values import Count
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.models import MODELS
from normlab.specs.named_parts import HookParts, MetricParts, TaskOptions
from normlab.specs.network_and_data import DatasetSpec, LoadingSpec, ModelSpec
from normlab.specs.normalizers import BY_KIND, NormalizerSpec
from normlab.specs.optimization import AugmentationSpec, AverageSpec, CheckpointSpec, LossSpec
from normlab.specs.optimizers import OPTIMIZERS, SGD, OptimizerSpec
from normlab.specs.schedules import SCHEDULES, Cosine, ScheduleSpec
from normlab.specs.starting_weights import Continuation, InitFrom
from normlab.specs.tasks import TASKS

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

# These say how a job runs and not what it computes, so they are not in its fingerprint.
ERRANDS = {"name", "priority", "max_attempts", "time_limit_s", "checkpoint", "loading"}
_ADDED_LATER = (
    ("", "code"),
    ("", "metrics"),
    ("", "hooks"),
    ("", "task"),
    ("model", "options"),
    ("dataset", "options"),
    ("dataset", "file"),
    ("dataset", "contents"),
    ("", "augmentations"),
    ("", "loss"),
    ("", "ema"),
    ("optimizer", "layer_decay"),
    ("optimizer", "clip_ratio"),
    ("optimizer", "clip_value"),
    ("schedule", "warmup_from"),
    ("model", "dropout"),
    ("model", "stochastic_depth"),
    ("dataset", "skip_broken"),
    ("", "init_from"),
    ("", "freeze"),
    ("", "continues"),
    ("", "hosts"),
    ("", "sharding"),
)


class JobSpec(Spec):
    """One training job. `batch_size` is the micro-batch: the samples in one normalizer call."""

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
        "replicas: off, full, or auto; null: auto, which divides them where a replica's memory "
        "would not hold them",
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

    @property
    def samples_per_update(self) -> int:
        """The number of samples whose gradients one update averages."""
        return self.batch_size * self.gradient_accumulation * self.replicas

    @property
    def replicas_per_host(self) -> int:
        """The number of replicas that each host of the job trains."""
        return self.replicas // (self.hosts or 1)

    def fingerprint(self) -> str:
        """Hash what the job computes, in 64 hex digits; equal jobs have equal fingerprints."""
        text = json.dumps(self._science(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def code_in_use(self) -> Tuple[str, ...]:
        """Return the digests of the plugins in force whose names the job uses."""
        return tuple(sorted({plugin.digest for plugin in _plugins_of(self)}))

    def texts(self) -> Dict[str, str]:
        """Return the content of a fingerprint: the JSON of each field, in alphabetical order."""
        science = self._science()
        return {
            name: json.dumps(science[name], sort_keys=True, separators=(",", ":"))
            for name in sorted(science)
        }

    def _science(self) -> Dict[str, Any]:
        science = self.model_dump(mode="json", exclude=ERRANDS)
        if self.optimizer.norms_of is None:  # without it they have no effect
            for field in ("norms_of", "norm_mode", "norm_ratio_limit"):
                del science["optimizer"][field]
        if self.init_from is not None:
            science["init_from"] = self.init_from.science()
        for part, field in _ADDED_LATER:
            holder = science[part] if part else science
            if not holder[field]:  # a job without it is the job that it was before
                del holder[field]
        return science

    def twin(self) -> JobSpec:
        """Return the same job without the norms of another."""
        free = {"norms_of": None, "norm_mode": "rate", "norm_ratio_limit": None}
        return self.model_copy(update={"optimizer": self.optimizer.model_copy(update=free)})

    @model_validator(mode="wrap")
    @classmethod
    def _with_the_code_it_uses(
        cls, values: Any, handler: ModelWrapValidatorHandler[JobSpec], info: ValidationInfo
    ) -> JobSpec:
        if isinstance(values, JobSpec) or is_stored(info):
            return handler(values)
        given = values.get("code") if isinstance(values, Mapping) else None
        with registries.naming(plugins_named(given)):
            spec = handler(values)
            used = spec.code_in_use()
        object.__setattr__(spec, "code", used)  # in place: a constructor's caller has this object
        return spec

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


def _accepted(value: Any) -> Any:
    return value if isinstance(value, JobSpec) else JobSpec.from_store(value)


AcceptedSpec = Annotated[JobSpec, BeforeValidator(_accepted)]
"""A job that a service accepted, to be read wherever: without the plugins that it names."""


def plugins_named(digests: Any) -> List[registries.Plugin]:
    """Return the plugins in a job's `code` that this process can find."""
    named = digests if isinstance(digests, (list, tuple)) else ()
    found = [registries.find(digest) for digest in named if isinstance(digest, str)]
    return [plugin for plugin in found if plugin is not None]


def _plugins_of(spec: JobSpec) -> Iterator[registries.Plugin]:
    """List the plugins of the names in *spec*, without those of normlab's own names."""
    names: List[Tuple[registries.Registry[Any], str]] = [
        (BY_KIND, spec.normalizer.kind),
        (MODELS, spec.model.name),
        (DATASETS, spec.dataset.name),
        (OPTIMIZERS, spec.optimizer.name),
        (SCHEDULES, spec.schedule.name),
        *((AUGMENTATIONS, one.name) for one in spec.augmentations),
        *((METRICS, part.name) for part in spec.metrics),
        *((HOOKS, part.name) for part in spec.hooks),
        *((DIAGNOSTICS, name) for name in spec.diagnostics),
    ]
    facts = spec.dataset.facts()
    if facts is not None:
        names.append((TASKS, facts.task))
    for registry, name in names:
        plugin = registry.plugin_of(name)
        if plugin is not None:
            yield plugin


def fingerprints(texts: Mapping[str, str], seeds: Iterable[int]) -> Iterator[str]:
    """Yield the fingerprints of jobs with these *texts* that differ in their seeds alone."""
    parts = [f'"{name}":{text}' for name, text in texts.items()]
    at = list(texts).index("seed")
    head = "".join(f"{part}," for part in parts[:at])
    tail = "".join(f",{part}" for part in parts[at + 1 :])
    for seed in seeds:
        whole = f'{{{head}"seed":{seed}{tail}}}'
        yield hashlib.sha256(whole.encode()).hexdigest()
