"""A training job: what identifies it, and the code that it uses."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Tuple, TypeVar, cast

from pydantic import BeforeValidator, ModelWrapValidatorHandler, ValidationInfo, model_validator
from typing_extensions import Annotated

from normlab.specs import registries
from normlab.specs.augmentations import AUGMENTATIONS
from normlab.specs.base import is_stored
from normlab.specs.datasets import DATASETS
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.job_fields import JobFields
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.models import MODELS
from normlab.specs.normalizers import BY_KIND
from normlab.specs.optimizers import OPTIMIZERS
from normlab.specs.schedules import SCHEDULES
from normlab.specs.tasks import TASKS

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

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


class JobSpec(JobFields):
    """One training job. `batch_size` is the micro-batch: the samples in one normalizer call."""

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


def _accepted(value: Any) -> Any:
    return value if isinstance(value, JobSpec) else JobSpec.from_store(value)


AcceptedSpec = Annotated[JobSpec, BeforeValidator(_accepted)]
"""A job that a service accepted; it can be read anywhere, also without its plugins."""


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


def under_its_code(function: FunctionT) -> FunctionT:
    """
    Let *function*, whose first argument is a job, find the plugins in the job's `code`.

    The tables of networks, datasets, tasks, metrics and hooks have those of the operator's plugins
    everywhere, and those of a plugin that a user uploaded only for the jobs that name it.
    """

    @functools.wraps(function)
    def found(spec: Any, *rest: Any, **named: Any) -> Any:
        if not spec.code:
            return function(spec, *rest, **named)
        with registries.naming(plugins_named(spec.code)):
            return function(spec, *rest, **named)

    return cast("FunctionT", found)
