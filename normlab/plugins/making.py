"""Make the registry entry of a part from its description, except for normalizers."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Type

from pydantic import create_model

from normlab.plugins.entries import EntryDescription, fields
from normlab.specs.base import Spec
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.diagnostics import DiagnosticFacts
from normlab.specs.measures import HookFacts, MetricFacts
from normlab.specs.model_facts import ModelFacts, NormPlace, SampleSize
from normlab.specs.registries import DATASETS, DIAGNOSTICS, HOOKS, METRICS, NETWORKS, TASKS
from normlab.specs.tasks import TaskFacts

READER = "normlab.data.factories:load"


def network(entry: EntryDescription) -> ModelFacts:
    """Return the facts about a plugin's network."""
    facts = dict(entry.facts)
    return ModelFacts(
        name=entry.name,
        summary=entry.summary,
        factory=entry.path,
        default_width=None,
        sites_of=None,
        form="norm" if entry.form == "norm" else "converted",
        options=options_of(entry),
        recorded=_by_size(facts.pop("places", {}), _places),
        unfit=_by_size(facts.pop("unfit", {}), str),
        **facts,
    )


def dataset(entry: EntryDescription) -> DatasetFacts:
    """Return the facts about a plugin's dataset."""
    return DatasetFacts(
        name=entry.name,
        summary=entry.summary,
        loader=READER,
        factory=entry.path,
        train_size=None,
        test_size=None,
        options=options_of(entry),
        **entry.facts,
    )


def task(entry: EntryDescription) -> TaskFacts:
    """Return the facts about a plugin's task."""
    shown = "val/accuracy" if entry.facts["counts"] else "val/loss"
    return TaskFacts(
        name=entry.name,
        path=entry.path,
        headline=shown,
        options=options_of(entry),
        **entry.facts,
    )


def metric(entry: EntryDescription) -> MetricFacts:
    """Return the facts about a plugin's metric."""
    tasks = tuple(entry.facts["tasks"])
    return MetricFacts(entry.name, entry.summary, entry.path, tasks, options_of(entry))


def hook(entry: EntryDescription) -> HookFacts:
    """Return the facts about a plugin's hook."""
    return HookFacts(entry.name, entry.summary, entry.path, options_of(entry))


def diagnostic(entry: EntryDescription) -> DiagnosticFacts:
    """Return the facts about a plugin's diagnostic."""
    facts = {"metrics": "what its author reports", "cost": "unknown", "source": "its author"}
    return DiagnosticFacts(entry.name, entry.summary, **entry.facts, **facts, path=entry.path)


def options_of(entry: EntryDescription) -> Type[Spec]:
    """Return a model of the entry's options."""
    return create_model(f"{entry.name}_options", __base__=Spec, **fields(entry.options))


def size_key(size: SampleSize) -> str:
    """Write a size as the key of a JSON object: channels x classes x side."""
    return "x".join(map(str, size))


def _by_size(found: Mapping[str, Any], read: Callable[[Any], Any]) -> Dict[SampleSize, Any]:
    return {SampleSize(*map(int, key.split("x"))): read(value) for key, value in found.items()}


def _places(found: List[List[int]]) -> List[NormPlace]:
    return [NormPlace(channels, side) for channels, side in found]


MADE: Dict[str, Callable[[EntryDescription], Any]] = {
    NETWORKS: network,
    DATASETS: dataset,
    TASKS: task,
    METRICS: metric,
    HOOKS: hook,
    DIAGNOSTICS: diagnostic,
}
