"""The job form, generated from the specs: groups of fields with their paths and options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from normlab.specs import registries
from normlab.specs.augmentations import AUGMENTATIONS
from normlab.specs.datasets import DATASETS
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.job_fields import MOST_AUGMENTATIONS
from normlab.specs.jobs import JobSpec
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.models import MODELS
from normlab.specs.network_and_data import DatasetSpec, LoadingSpec, ModelSpec
from normlab.specs.normalizers import BY_KIND
from normlab.specs.optimization import AugmentationSpec, AverageSpec, CheckpointSpec, LossSpec
from normlab.specs.optimizers import OPTIMIZERS
from normlab.specs.options import OptionRecord, options
from normlab.specs.registries import Registry
from normlab.specs.schedules import SCHEDULES
from normlab.specs.starting_weights import InitFrom
from normlab.specs.tasks import TASKS


@dataclass(frozen=True)
class FormField:
    """One option with its dotted path in the job."""

    path: str
    option: OptionRecord


@dataclass(frozen=True)
class Choice:
    """Fields that belong to one kind of normalizer, optimizer, ...; "" stands for no kind."""

    name: str
    title: str
    fields: tuple[FormField, ...]


@dataclass(frozen=True)
class Chooser:
    """A field whose value determines which further fields are shown; a study varies *axis*."""

    path: str
    axis: str
    label: str
    default: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Several:
    """A field that lists parts by their names; the paths of their options are relative to them."""

    path: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class FieldGroup:
    """Fields under one heading; *choosers* come first."""

    title: str
    choosers: tuple[Chooser, ...]
    fields: tuple[FormField, ...]
    open: bool = True
    several: tuple[Several, ...] = ()


_JOB = {option.name: option for option in options(JobSpec)}
_RUN = ("batch_size", "gradient_accumulation", "replicas", "epochs", "max_steps", "seed")
_AUGMENTATIONS_SHOWN = MOST_AUGMENTATIONS
LOSS = LossSpec.model_fields["name"].default
_SEVERAL = ("metrics", "hooks", "diagnostics")
_PLACE = ("device", "ipu_runtime", "precision", "threads", "tf32", "acceleration")


def job_form() -> tuple[FieldGroup, ...]:
    """Return the groups of the form, in the order in which people fill them in."""
    return _form_with(registries.in_force())


@cache
def _form_with(plugins: tuple[registries.Plugin, ...]) -> tuple[FieldGroup, ...]:
    shown = {"name", "label_smoothing", "augmentations", *_RUN, *_PLACE, *_SEVERAL}
    return (
        FieldGroup("Normalizer", (_normalizer(),), ()),
        FieldGroup(
            "Network and data",
            (
                _named("model", ModelSpec, MODELS),
                _named("dataset", DatasetSpec, DATASETS),
            ),
            (*_but_name(ModelSpec, "model"), *_but_name(DatasetSpec, "dataset")),
        ),
        FieldGroup("Training", (), _job_fields(_RUN)),
        FieldGroup(
            "Optimization",
            (
                _by_name("optimizer", "Optimizer", OPTIMIZERS),
                _by_name("schedule", "Schedule", SCHEDULES),
                _or_none("loss", "Loss", "of the task", [LOSS], lambda _: LossSpec),
            ),
            (*_job_fields(["label_smoothing"]), *_average()),
        ),
        FieldGroup("Augmentation", _augmentations(), (), open=False),
        FieldGroup("Device", (), _job_fields(_PLACE)),
        FieldGroup("Metrics and hooks", (), (), several=_several()),
        FieldGroup(
            "Everything else",
            (),
            (
                *_job_fields(name for name in _JOB if name not in shown),
                *_fields(AugmentationSpec, "augmentation"),
                *_fields(CheckpointSpec, "checkpoint"),
                *_fields(LoadingSpec, "loading"),
                *_fields(InitFrom, "init_from"),
                _twin(),
            ),
            open=False,
        ),
    )


def paths() -> list[str]:
    """List every dotted path of the form, which are the paths that a study can vary."""
    found: dict[str, None] = {}
    for group in job_form():
        for chooser in group.choosers:
            found[chooser.axis] = None
            varied = () if chooser.axis == "augmentations" else chooser.choices  # as a whole
            found.update((f.path, None) for choice in varied for f in choice.fields)
        found.update((f.path, None) for f in group.fields)
        found.update((several.path, None) for several in group.several)
    return [path for path in found if path not in ("seed", "name")]


def _normalizer() -> Chooser:
    choices = tuple(
        Choice(spec.model_fields["kind"].default, spec.title, _fields(spec, "normalizer"))
        for spec in BY_KIND.values()
    )
    return Chooser("normalizer.kind", "normalizer", "Kind", "batch", choices)


def _named(part: str, spec: type[BaseModel], registry: Registry[Any]) -> Chooser:
    choices = tuple(
        Choice(name, "", (*_fields(facts.options, f"{part}.options"), *_of_task(part, facts)))
        for name, facts in registry.items()
    )
    path = f"{part}.name"
    return Chooser(path, path, part, spec.model_fields["name"].default, choices)


def _of_task(part: str, facts: Any) -> tuple[FormField, ...]:
    task = TASKS.get(facts.task) if part == "dataset" else None
    return () if task is None else _fields(task.options, "task")


def _several() -> tuple[Several, ...]:
    parts: dict[str, Registry[Any]] = {"metrics": METRICS, "hooks": HOOKS}
    found = [
        Several(path, tuple(Choice(f.name, f.summary, _options(f.options)) for f in known.values()))
        for path, known in parts.items()
    ]
    looks = tuple(Choice(facts.name, facts.summary, ()) for facts in DIAGNOSTICS.values())
    return (*found, Several("diagnostics", looks))


def _options(model: type[BaseModel]) -> tuple[FormField, ...]:
    return tuple(FormField(option.name, option) for option in options(model))


def _but_name(spec: type[BaseModel], part: str) -> tuple[FormField, ...]:
    return tuple(field for field in _fields(spec, part) if field.option.name != "name")


def _by_name(path: str, label: str, registry: Registry[Any]) -> Chooser:
    choices = tuple(Choice(name, "", _fields(spec, path)) for name, spec in registry.items())
    return Chooser(f"{path}.name", path, label, choices[0].name, choices)


def _or_none(
    path: str, label: str, none: str, names: Iterable[str], spec_of: Callable[[str], Any]
) -> Chooser:
    chosen = (Choice(name, "", _fields(spec_of(name), path)) for name in names)
    axis = path.partition(".")[0]
    return Chooser(f"{path}.name", axis, label, "", (Choice("", none, ()), *chosen))


def _augmentations() -> tuple[Chooser, ...]:
    return tuple(
        _or_none(f"augmentations.{i}", f"{i + 1}", "none", AUGMENTATIONS, AUGMENTATIONS.__getitem__)
        for i in range(_AUGMENTATIONS_SHOWN)
    )


def _average() -> Iterator[FormField]:
    """Yield the fields of the averaged weights, which a decay turns on."""
    for path, option in ((f.path, f.option) for f in _fields(AverageSpec, "ema")):
        if option.name == "decay":
            words = f"{option.description}; null: weights are not averaged"
            empty = {"default": None, "nullable": True, "description": words}
            yield FormField(path, option.model_copy(update=empty))
        else:
            yield FormField(path, option)


def _fields(model: type[BaseModel], prefix: str) -> tuple[FormField, ...]:
    return tuple(FormField(f"{prefix}.{o.name}", o) for o in options(model))


def _twin() -> FormField:
    """The one field of the form that is an object, because its keys are paths of the job."""
    about = InitFrom.model_fields["twin"].description or ""
    return FormField(
        "init_from.twin", OptionRecord(name="twin", type="object", nullable=True, description=about)
    )


def _job_fields(names: Iterable[str]) -> tuple[FormField, ...]:
    return tuple(FormField(name, _JOB[name]) for name in names)
