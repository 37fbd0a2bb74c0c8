"""The catalogue as records, generated from the specs, so that nothing is listed twice."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from normlab.records import (
    DatasetRecord,
    DiagnosticKindRecord,
    ModelRecord,
    NormalizerRecord,
    PartRecord,
)
from normlab.specs.augmentations import AUGMENTATIONS
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.datasets import DATASETS
from normlab.specs.diagnostics import DIAGNOSTICS, DiagnosticFacts
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.model_facts import ModelFacts
from normlab.specs.models import MODELS
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import BY_KIND
from normlab.specs.optimizers import OPTIMIZERS
from normlab.specs.options import options
from normlab.specs.registries import Registry
from normlab.specs.schedules import SCHEDULES
from normlab.specs.tasks import TASKS


def normalizers() -> tuple[NormalizerRecord, ...]:
    """Describe every kind of normalizer."""
    return tuple(_normalizer(spec) for spec in BY_KIND.values())


def models() -> list[ModelRecord]:
    """Describe every network."""
    return [_model(facts) for facts in MODELS.values()]


def datasets(data_root: Path) -> list[DatasetRecord]:
    """Describe every dataset, and its missing files below *data_root*."""
    return [_dataset(facts, data_root) for facts in DATASETS.values()]


def diagnostics() -> list[DiagnosticKindRecord]:
    """Describe every diagnostic."""
    return [DiagnosticKindRecord.model_validate(_shown(facts)) for facts in DIAGNOSTICS.values()]


def parts() -> list[PartRecord]:
    """List the other parts of a job, with their options."""
    summaries: list[tuple[Registry[Any], dict[str, str]]] = [
        (TASKS, {name: facts.predicts for name, facts in TASKS.items()}),
        (METRICS, {name: facts.summary for name, facts in METRICS.items()}),
        (HOOKS, {name: facts.summary for name, facts in HOOKS.items()}),
    ]
    return [
        PartRecord(
            part=registry.part,
            name=name,
            summary=text,
            options=options(registry[name].options),
            code=_code(registry, name),
        )
        for registry, found in summaries
        for name, text in found.items()
    ] + [_recipe(registry, name) for registry in _RECIPES for name in registry]


_RECIPES: tuple[Registry[Any], ...] = (OPTIMIZERS, SCHEDULES, AUGMENTATIONS)


def _recipe(registry: Registry[Any], name: str) -> PartRecord:
    spec = registry[name]
    return PartRecord(
        part=registry.part,
        name=name,
        summary=(spec.__doc__ or "").strip().splitlines()[0],
        options=[option for option in options(spec) if option.name != "name"],
        code=_code(registry, name),
    )


def _shown(facts: DiagnosticFacts) -> dict[str, str]:
    return {name: value for name, value in vars(facts).items() if name != "path"}


def _code(registry: Registry[Any], name: str) -> str | None:
    plugin = registry.plugin_of(name)
    return None if plugin is None else plugin.name


@cache
def _normalizer(spec: type[NormSpec]) -> NormalizerRecord:
    return NormalizerRecord(
        kind=spec.model_fields["kind"].default,
        title=spec.title,
        summary=(spec.__doc__ or "").strip().splitlines()[0],
        source=spec.source,
        acts_on=spec.acts_on,
        takes_proxy="proxy" in spec.model_fields,
        batch_dependent=spec.batch_dependent,
        stateful=spec.stateful,
        channelwise=spec.channelwise,
        keeps_expressivity=spec.keeps_expressivity,
        runs_on_ipu=spec.runs_on_ipu,
        ipu_reason=spec.ipu_reason,
        options=options(spec),
        code=_code(BY_KIND, spec.model_fields["kind"].default),
    )


def _model(facts: ModelFacts) -> ModelRecord:
    channels = facts.channels(None)
    return ModelRecord(
        name=facts.name,
        summary=facts.summary,
        task=facts.task,
        default_width=facts.default_width,
        min_image_size=facts.min_image_size,
        normalizers=len(channels),
        channels=sorted(set(channels)),
        options=options(facts.options),
        code=_code(MODELS, facts.name),
    )


def _dataset(facts: DatasetFacts, data_root: Path) -> DatasetRecord:
    missing = facts.missing(data_root)
    return DatasetRecord(
        name=facts.name,
        summary=facts.summary,
        task=facts.task,
        num_classes=facts.num_classes,
        channels=facts.channels,
        image_size=facts.image_size,
        train_size=facts.train_size,
        test_size=facts.test_size,
        available=not missing,
        missing=missing,
        options=options(facts.options),
        code=_code(DATASETS, facts.name),
    )
