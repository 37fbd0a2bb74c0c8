"""The rules that involve several fields of a job, or a field and the operator's files."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Container, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from pydantic import ValidationError

from normlab.errors import FieldProblem, refuse
from normlab.specs import devices, recipe_rules, sharding, zoo
from normlab.specs.datasets import DATASETS, DatasetFacts
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.jobs import JobSpec
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.model_facts import ModelFacts
from normlab.specs.models import MODELS
from normlab.specs.norm_places import places, why_unfit
from normlab.specs.normalizers import check_channels
from normlab.specs.options import checked_options
from normlab.specs.problems import explain
from normlab.specs.shared_answers import ManySharedAnswers
from normlab.specs.sizes import image_size, train_size
from normlab.specs.tasks import TASKS
from normlab.specs.under_code import under_its_code

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
        return  # only the file tells its task
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


def _known(spec: JobSpec) -> Union[Tuple[ModelFacts, DatasetFacts, int], None]:
    model, dataset = MODELS.get(spec.model.name), spec.dataset.facts()
    side = image_size(spec)
    if model is None or dataset is None or side is None or not model.does(dataset.task):
        return None
    return model, dataset, side


def _dataset(spec: JobSpec) -> Problems:
    facts = spec.dataset.facts()
    if facts is None:
        return
    if facts.of_pictures and spec.dataset.folder is None:
        yield FieldProblem("dataset.folder", f"{facts.name} needs the name of its folder")
    if facts.of_arrays and spec.dataset.file is None:
        yield FieldProblem("dataset.file", "file needs the name of a file below the data root")
    pictures = [name for name, one in DATASETS.items() if one.of_pictures]
    takers = {"folder": pictures, "image_size": pictures, "skip_broken": pictures, "file": ["file"]}
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


def _network(spec: JobSpec) -> Problems:
    known = _known(spec)
    if known is None:
        return
    model, _, side = known
    unfit = why_unfit(spec)
    if unfit is not None:
        yield FieldProblem("model.name", f"{model.name} and {spec.dataset.name}: {unfit}")
        return
    if spec.model.width is not None and model.default_width is None:
        rule = f"{model.name} has no width; see its options, or leave it out"
        yield FieldProblem("model.width", rule)
    if side < model.min_image_size:
        rule = f"{model.name} needs images of {model.min_image_size} pixels, not {side}"
        yield FieldProblem("model.name", rule)
        return
    norm = spec.normalizer
    if spec.model.zero_last_scale and not model.norm_ends_branch:
        rule = f"no residual branch of {model.name} ends with a normalizer; use it with a resnet"
        yield FieldProblem("model.zero_last_scale", rule)
    elif spec.model.zero_last_scale and not getattr(norm, "affine", False):
        rule = f"normalizer {norm.kind!r} has no scale here; leave it out, or set affine to true"
        yield FieldProblem("model.zero_last_scale", rule)
    # Widths double from stage to stage: what fits the narrowest layer fits the others.
    channels = [place.channels for place in places(spec) or ()]
    yield from check_channels(spec.normalizer, channels)[:1]


def _recurrence(spec: JobSpec) -> Problems:
    model = MODELS.get(spec.model.name)
    if model is not None and model.recurrent:
        yield from filter(None, [spec.normalizer.problem_in_recurrence()])
    elif model is not None and model.package is not None:
        yield from _foresight(spec)


def _foresight(spec: JobSpec) -> Problems:
    dataset, norm = spec.dataset.facts(), spec.normalizer
    reads = dataset is not None and dataset.task == "language"
    if reads and not norm.within_token and norm.layer is not None:
        rule = "lets the tokens of a sample see each other, so also the ones to be predicted"
        yield norm.problem_of_kind(f"{rule}; use 'layer', 'rms', 'dyt' or 'none'")


def _statistics(spec: JobSpec) -> Problems:
    known = _known(spec)
    if known is None or known[2] < known[0].min_image_size:
        return
    sides = [place.side for place in places(spec) or ()]
    if not sides:
        return
    side = min(sides)
    samples = getattr(spec.normalizer, "virtual_batch_size", None) or spec.batch_size
    problem = spec.normalizer.problem_with_values(samples, side)
    if problem is not None:
        yield FieldProblem(problem.field, f"{problem.rule} ({spec.model.name})")


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
        yield from devices.problems(spec, spec.device)
    elif not devices.takers(spec):
        why = [f"{kind}: {_first(spec, kind)}" for kind in devices.KINDS]
        yield FieldProblem("device", f"no device can take this job ({'; '.join(why)})")


def _first(spec: JobSpec, kind: str) -> str:
    problem = devices.problems(spec, kind)[0]
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
    _network,
    recipe_rules.drops,
    recipe_rules.augmentations,
    recipe_rules.loss,
    _recurrence,
    _statistics,
    recipe_rules.optimization,
    _norms,
    _hosts,
    _sharding,
    _device,
)
