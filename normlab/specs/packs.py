"""Which jobs can be members of one pack: those that differ in seeds and numbers alone."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Optional, Sequence, Set

from normlab.errors import FieldProblem
from normlab.specs.base import Spec
from normlab.specs.jobs import JobSpec

# What a member has of its own.
_OWN = {"seed", "name", "priority", "max_attempts", "time_limit_s", "label_smoothing", "schedule"}
_NUMBERS_OF_OPTIMIZERS = {
    "lr", "lr_reference_batch", "batch_scaling", "momentum", "weight_decay", "decay_normalizers",
    "layer_decay", "clip_norm", "clip_ratio", "clip_value", "beta1", "beta2", "eps", "alpha",
}  # fmt: skip
_SAME = {
    "normalizer", "model", "dataset", "batch_size", "gradient_accumulation", "device",
    "ipu_runtime", "epochs", "max_steps", "evaluate_every", "optimizer", "augmentation",
    "augmentations", "loss", "ema", "precision", "tf32", "deterministic", "threads",
    "diagnostics", "metrics", "checkpoint", "loading", "task", "init_from",
}  # fmt: skip
_OF_OPTIMIZERS = {*_NUMBERS_OF_OPTIMIZERS, "name", "nesterov", "norm_mode", "norm_ratio_limit"}
_NETWORKS = (
    "preresnet8", "convnet", "resnet20", "resnet56", "resnet18", "resnet50", "randomplain100",
    "unet",
)  # fmt: skip
_ONLY: Dict[str, Sequence[Any]] = {  # other values have no packed form
    "replicas": (1,),
    "code": ((),),  # what a plugin's layers do with channels is not known
    "acceleration": ("none",),
    "hooks": ((),),
    "precision": ("float32", "bfloat16"),
    "device": ("auto", "cpu"),
}
_OPTIMIZERS = ("sgd", "adamw", "rmsprop")


def obstacle(specs: Sequence[JobSpec]) -> Optional[FieldProblem]:
    """
    Return why *specs* cannot be the members of one pack; None if they can.

    Members may differ in seeds, in the numbers of optimizer and schedule, in the smoothing of
    labels, and in numbers of one kind of normalizer.
    """
    for spec in specs:
        problem = next(_unknown_in(spec), None)
        if problem is not None:
            return problem
    return next(_differences([_common(spec) for spec in specs]), None)


def group_text(spec: JobSpec, *, by_itself: bool) -> str:
    """
    Return what the members of a pack have in common, as text: jobs with equal ones fit.

    Args:
        by_itself: nobody asks for a number of members, so those with other numbers of the
            normalizer, whose layers run one member after the other, are left out.
    """
    common = _common(spec)
    if by_itself:
        common["normalizer"] = spec.normalizer.model_dump()
        common["time_limit_s"] = spec.time_limit_s
    return json.dumps(common, sort_keys=True, default=str)


def _unknown_in(spec: JobSpec) -> Iterator[FieldProblem]:
    for field, values in _ONLY.items():
        value = getattr(spec, field)
        if value not in values:
            yield _refused(field, f"{value!r} has no form for packs")
    if spec.model.name not in _NETWORKS:
        known_ones = ", ".join(_NETWORKS)
        yield _refused("model.name", f"{spec.model.name!r} is none of {known_ones}")
    if spec.model.drops:
        yield _refused("model", "dropout and stochastic depth have no form for packs")
    if spec.loading.mode == "stream":
        yield _refused("loading.mode", "a pack has its data in memory")
    if spec.optimizer.name not in _OPTIMIZERS:
        rule = f"{spec.optimizer.name!r} is none of {', '.join(_OPTIMIZERS)}"
        yield _refused("optimizer.name", rule)
    # a field that is newer than these lists may change what an update is
    for field in _set_in(spec) - {*_OWN, *_SAME, *_ONLY}:
        yield _refused(field, "it has no form for packs")
    for field in _set_in(spec.optimizer) - _OF_OPTIMIZERS:
        yield _refused(f"optimizer.{field}", "it has no form for packs")


def _set_in(part: Spec) -> Set[str]:
    """Name the fields of *part* that do not have their default."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in type(part).model_fields.items()
    }
    return {name for name, default in defaults.items() if getattr(part, name) != default}


def _common(spec: JobSpec) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for field, value in spec.model_dump().items():
        if field == "optimizer":
            rest = {name: own for name, own in value.items() if name not in _NUMBERS_OF_OPTIMIZERS}
            found.update({f"optimizer.{name}": own for name, own in rest.items()})
        elif field == "normalizer":
            rest = {name: own for name, own in value.items() if not _is_number(own)}
            found.update({f"normalizer.{name}": own for name, own in rest.items()})
        elif field not in _OWN:
            found[field] = value
    return found


def _differences(members: Sequence[Dict[str, Any]]) -> Iterator[FieldProblem]:
    first = members[0]
    for other in members[1:]:
        for field in sorted({*first, *other}):
            a, b = first.get(field), other.get(field)
            if a != b:
                yield _refused(field, f"members have {a!r} and {b!r}")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _refused(field: str, rule: str) -> FieldProblem:
    return FieldProblem(field, f"{rule}; such jobs train one by one")
