"""Describe each part that a plugin declares, except normalizers."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Collection, Dict, Sequence

from normlab.errors import InvalidSpec
from normlab.plugins.declaring import Declared
from normlab.plugins.entries import EntryDescription, described_options
from normlab.specs.registries import DATASETS, DIAGNOSTICS, HOOKS, METRICS, NETWORKS, TASKS

OF_A_NETWORK = ("norm", "num_classes", "in_channels", "image_size")
MOMENTS = ("after_update", "after_epoch", "at_end")
OF_A_DATASET = ("split", "data_root")


def described_network(declared: Declared, path: str) -> EntryDescription:
    """Describe a network without building it; `trying` finds the places of its normalizers."""
    takes = inspect.signature(_callable(declared)).parameters
    form = "norm" if "norm" in takes else "converted"
    return _described(declared, path, form, OF_A_NETWORK)


def described_dataset(declared: Declared, path: str) -> EntryDescription:
    """Describe a dataset without reading it."""
    takes = inspect.signature(_callable(declared)).parameters
    if "split" not in takes:
        raise InvalidSpec(
            f"{declared.target.__name__}({', '.join(takes)}): a dataset's factory takes split, "
            "which is 'train' or 'test'"
        )
    return _described(declared, path, "", OF_A_DATASET)


def described_task(declared: Declared, path: str) -> EntryDescription:
    """Describe a task: whether its loss smooths labels, and whether it counts what is correct."""
    target = _class(declared, ("loss",))
    smooths = "label_smoothing" in inspect.signature(target.loss).parameters
    counts = hasattr(target, "correct")
    entry = _described(declared, path, "", ())
    return entry.model_copy(update={"facts": {**entry.facts, "smooths": smooths, "counts": counts}})


def described_metric(declared: Declared, path: str) -> EntryDescription:
    """Describe a metric: a class with tally and value, or a function of (output, y)."""
    target = declared.target
    if inspect.isclass(target):
        _class(declared, ("tally", "value"))
        return _described(declared, path, "", ())
    takes = list(inspect.signature(_callable(declared)).parameters)
    if len(takes) < 2:
        raise InvalidSpec(
            f"{target.__name__}({', '.join(takes)}): a metric is a function of (output, y) and "
            "of options, or a class with tally(output, y) and value(sums)"
        )
    return _described(declared, path, "", takes[:2])


def described_diagnostic(declared: Declared, path: str) -> EntryDescription:
    """Describe a diagnostic; it takes no options, because a job can only name it."""
    entry = described_observer(declared, path)
    if entry.options:
        raise InvalidSpec(
            f"{declared.target.__name__}({', '.join(entry.options)}): a diagnostic takes no "
            "arguments"
        )
    return entry


def described_observer(declared: Declared, path: str) -> EntryDescription:
    """Describe a class that has a method for at least one moment of a training."""
    if not any(hasattr(declared.target, name) for name in MOMENTS):
        raise InvalidSpec(
            f"the {declared.part} {declared.name!r} has none of {', '.join(MOMENTS)}, so it would "
            "never run; define one of these methods"
        )
    _class(declared, ())
    return _described(declared, path, "", ())


def _class(declared: Declared, methods: Sequence[str]) -> Any:
    target = declared.target
    lacking = [name for name in methods if not hasattr(target, name)]
    if not inspect.isclass(target) or lacking:
        wanted = f" with {' and '.join(methods)}" if methods else ""
        raise InvalidSpec(f"the {declared.part} {declared.name!r} must be a class{wanted}")
    return target


def _callable(declared: Declared) -> Callable[..., Any]:
    if not callable(declared.target):
        raise InvalidSpec(f"the {declared.part} {declared.name!r} is not callable")
    target: Callable[..., Any] = declared.target
    return target


def _described(
    declared: Declared, path: str, form: str, given: Collection[str]
) -> EntryDescription:
    options = described_options(declared.target, given)
    if "name" in options and declared.part in (METRICS, HOOKS):
        raise InvalidSpec(
            f"{declared.target.__name__}(name): a job names the {declared.part} by `name`; "
            "choose another name for the option"
        )
    return EntryDescription(
        part=declared.part,
        name=declared.name,
        path=path,
        summary=declared.summary,
        form=form,
        facts=declared.facts,
        options=options,
    )


DESCRIBED: Dict[str, Callable[[Declared, str], EntryDescription]] = {
    NETWORKS: described_network,
    DATASETS: described_dataset,
    TASKS: described_task,
    METRICS: described_metric,
    HOOKS: described_observer,
    DIAGNOSTICS: described_diagnostic,
}
