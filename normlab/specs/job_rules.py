"""The rules that involve several fields of a job, or a field and the operator's files."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Container, Iterable, Iterator, List, Optional, Sequence, Tuple

from pydantic import ValidationError

from normlab.errors import FieldProblem, refuse
from normlab.specs import device_rules, devices, network_rules, recipe_rules, sharding, zoo
from normlab.specs.datasets import DATASETS
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.jobs import JobSpec, under_its_code
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.models import MODELS
from normlab.specs.options import checked_options
from normlab.specs.problems import explain
from normlab.specs.shared_answers import ManySharedAnswers
from normlab.specs.sizes import train_size
from normlab.specs.tasks import TASKS

Problems = Iterator[FieldProblem]
Rule = Callable[[JobSpec], Problems]


def admit(spec: JobSpec, data_root: Optional[Path]) -> None:
    """
    Raise unless *spec* can be run.

    Raises:
        InvalidSpec: with every problem that `check` finds.
    """
    refuse(check(spec, data_root))


@under_its_code
def check(spec: JobSpec, data_root: Optional[Path]) -> List[FieldProblem]:
    """
    List every rule that *spec* breaks; empty if it can be run.

    Files are checked below *data_root*, or not at all if it is None.
    """
    return [problem for rule in _rules(data_root) for problem in rule(spec)]


def checker(data_root: Optional[Path]) -> Callable[[JobSpec], List[FieldProblem]]:
    """
    Return `check` for many jobs that differ in few fields, such as the cells of a grid.

    Files and the plugins in force count as they are when a rule first reads them.
    """
    rules = ManySharedAnswers([under_its_code(_in_whole(rule)) for rule in _rules(data_root)])
    return lambda spec: [problem for problems in rules(spec) for problem in problems]


def _rules(data_root: Optional[Path]) -> Sequence[Rule]:
    return _RULES if data_root is None else (*_RULES, lambda spec: _files(spec, data_root))


def _in_whole(rule: Rule) -> Callable[[JobSpec], List[FieldProblem]]:
    return lambda spec: list(rule(spec))


def _names(spec: JobSpec) -> Problems:
    tables: Tuple[Tuple[str, str, Container[str], Iterable[str]], ...] = (
        ("model.name", spec.model.name, MODELS, (*MODELS, zoo.PATTERNS)),
        ("dataset.name", spec.dataset.name, DATASETS, DATASETS),
    )
    for field, name, known, listed in tables:
        if name not in known:
            yield FieldProblem(field, f"unknown name {name!r}; choose one of {', '.join(listed)}")
    several: Tuple[Tuple[str, Sequence[str], Iterable[str]], ...] = (
        ("diagnostics", spec.diagnostics, DIAGNOSTICS),
        ("metrics", [part.name for part in spec.metrics], METRICS),
        ("hooks", [part.name for part in spec.hooks], HOOKS),
    )
    for field, names, table in several:
        for name in names:
            if name not in table:
                known = ", ".join(table) or "none, because nobody has added one"
                yield FieldProblem(field, f"unknown name {name!r}; choose from {known}")


def _task(spec: JobSpec) -> Problems:
    model, dataset = MODELS.get(spec.model.name), spec.dataset.facts()
    if model is None or dataset is None:
        return
    if dataset.of_arrays and dataset.num_classes is None:
        return  # only the file determines its task
    if not model.does(dataset.task):
        fitting = ", ".join(m.name for m in MODELS.values() if m.does(dataset.task))
        rule = (
            f"{model.name} is for {model.task} and {dataset.name} for {dataset.task}; "
            f"use {fitting}, or another dataset"
        )
        yield FieldProblem("model.name", rule)
    yield from _of_task(spec, dataset.task)


def _of_task(spec: JobSpec, name: str) -> Problems:
    task = TASKS.get(name)
    if task is None:
        rule = f"its task {name!r} is unknown; choose from {', '.join(TASKS)}"
        yield FieldProblem("dataset.name", rule)
        return
    if spec.label_smoothing and not task.smooths:
        yield FieldProblem("label_smoothing", f"the loss of {name} takes none; leave it out")
    try:
        checked_options(task.options, f"the task {name!r}", spec.task.values)
    except ValidationError as e:
        yield from explain(e.errors(), spec.task.values, task.options, at="task")
    except ValueError as e:
        yield FieldProblem("task", str(e))
    if "ablation" in spec.diagnostics and not task.classes:
        rule = f"'ablation' counts predicted classes, and {name} has none; leave it out"
        yield FieldProblem("diagnostics", rule)
    for metric in [part.name for part in spec.metrics]:
        tasks = METRICS[metric].tasks if metric in METRICS else ()
        if tasks and name not in tasks:
            rule = f"{metric!r} is for {', '.join(tasks)}, not for {name}; leave it out"
            yield FieldProblem("metrics", rule)


def _dataset(spec: JobSpec) -> Problems:
    facts = spec.dataset.facts()
    if facts is None:
        return
    if facts.of_pictures and spec.dataset.folder is None:
        yield FieldProblem("dataset.folder", f"{facts.name} needs the name of its folder")
    if facts.of_arrays and spec.dataset.file is None:
        yield FieldProblem(
            "dataset.file", f"{facts.name} needs the name of a file below the data root"
        )
    pictures = [name for name, one in DATASETS.items() if one.of_pictures]
    arrays = [name for name, one in DATASETS.items() if one.of_arrays]
    takers = {"folder": pictures, "image_size": pictures, "skip_broken": pictures, "file": arrays}
    for field, names in takers.items():
        if getattr(spec.dataset, field) not in (None, False) and facts.name not in names:
            known = " or ".join(map(repr, names))
            rule = f"only dataset {known} takes it, not {facts.name!r}; leave it out"
            yield FieldProblem(f"dataset.{field}", rule)
    if spec.loading.mode == "stream" and not facts.streams:
        names = [name for name, one in DATASETS.items() if one.streams]
        rule = f"{facts.name} is made in memory; 'stream' is for {', '.join(names)}; use 'auto'"
        yield FieldProblem("loading.mode", rule)
    for field in ("train_size", "test_size"):
        asked, there = getattr(spec.dataset, field), getattr(facts, field)
        if asked is not None and there is not None and asked > there:
            yield FieldProblem(f"dataset.{field}", f"{asked} of {there} samples; ask for fewer")


def _batches(spec: JobSpec) -> Problems:
    samples = train_size(spec)
    if samples is not None and spec.batch_size > samples:
        rule = f"{spec.batch_size} is larger than the {samples} training samples"
        yield FieldProblem("batch_size", rule)
    elif samples is not None and spec.samples_per_update > samples:
        rule = (
            f"batch_size x gradient_accumulation x replicas = {spec.samples_per_update} samples "
            f"per update, but there are {samples} training samples; lower one of them"
        )
        yield FieldProblem("gradient_accumulation", rule)
    virtual = getattr(spec.normalizer, "virtual_batch_size", None)
    if virtual is not None and spec.batch_size % virtual:
        rule = f"{virtual} does not divide batch_size={spec.batch_size}; use a divisor of it"
        yield FieldProblem("normalizer.virtual_batch_size", rule)


def _norms(spec: JobSpec) -> Problems:
    if spec.optimizer.norms_of is None:
        return
    if spec.normalizer.acts_on_weights:
        rule = f"normalizer {spec.normalizer.kind!r} sets the norms itself; leave norms_of out"
        yield FieldProblem("optimizer.norms_of", rule)
    if spec.replicas > 1:
        rule = f"steers one replica, not {spec.replicas}; use gradient_accumulation"
        yield FieldProblem("optimizer.norms_of", rule)


def _hosts(spec: JobSpec) -> Problems:
    hosts = spec.hosts or 1
    if hosts > spec.replicas:
        rule = f"{hosts} hosts need a replica each, and replicas={spec.replicas}; raise it"
        yield FieldProblem("hosts", rule)
    elif spec.replicas % hosts:
        rule = f"{hosts} does not divide replicas={spec.replicas}; use a divisor of it"
        yield FieldProblem("hosts", rule)


def _sharding(spec: JobSpec) -> Problems:
    if spec.sharding == "full":
        yield from sharding.obstacles(spec)


def _device(spec: JobSpec) -> Problems:
    if spec.device != "auto":
        yield from device_rules.problems(spec, spec.device)
    elif not device_rules.takers(spec):
        why = [f"{kind}: {_first(spec, kind)}" for kind in devices.KINDS]
        yield FieldProblem("device", f"no device can take this job ({'; '.join(why)})")


def _first(spec: JobSpec, kind: str) -> str:
    problem = device_rules.problems(spec, kind)[0]
    return f"{problem.field} {problem.rule}"


def _files(spec: JobSpec, data_root: Path) -> Problems:
    facts = spec.dataset.facts()
    if facts is None or (facts.of_pictures and spec.dataset.folder is None):
        return
    missing = facts.missing(data_root, spec.dataset.folder)
    if missing:
        names = ", ".join(missing)
        rule = f"{facts.name} is not complete: the operator's data root lacks {names}"
        rule = f"{rule}; {facts.way_out}"
        yield FieldProblem("dataset.folder" if spec.dataset.folder else "dataset.name", rule)


_RULES: Tuple[Rule, ...] = (
    _names,
    _task,
    _dataset,
    _batches,
    network_rules.network,
    recipe_rules.drops,
    recipe_rules.augmentations,
    recipe_rules.loss,
    network_rules.recurrence,
    network_rules.statistics,
    recipe_rules.optimization,
    _norms,
    _hosts,
    _sharding,
    _device,
)
