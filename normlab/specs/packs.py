"""The jobs that can be members of one pack: those that differ only in seeds and numbers."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Type

from pydantic import BaseModel

from normlab.errors import FieldProblem
from normlab.specs.base import Spec
from normlab.specs.device_rules import further
from normlab.specs.devices import DEVICES, DeviceFacts
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.optimizers import OPTIMIZERS

# The fields that may differ between members.
_OWN = {"seed", "name", "priority", "max_attempts", "time_limit_s", "label_smoothing", "schedule"}
_NUMBERS_OF_OPTIMIZERS = {
    "lr", "lr_reference_batch", "batch_scaling", "momentum", "weight_decay", "decay_normalizers",
    "layer_decay", "clip_norm", "clip_ratio", "clip_value", "beta1", "beta2", "eps", "alpha",
}  # fmt: skip
_SAME = {
    "normalizer", "model", "dataset", "batch_size", "gradient_accumulation", "device",
    "acceleration",
    "ipu_runtime", "epochs", "max_steps", "evaluate_every", "optimizer", "augmentation",
    "augmentations", "loss", "ema", "precision", "tf32", "deterministic", "threads",
    "diagnostics", "metrics", "checkpoint", "loading", "task", "init_from",
}  # fmt: skip
_OF_OPTIMIZERS = {*_NUMBERS_OF_OPTIMIZERS, "name", "nesterov", "norm_mode", "norm_ratio_limit"}
_ONLY: Dict[str, Sequence[Any]] = {  # other values have no packed form
    "replicas": (1,),
    "code": ((),),  # it is not known what a plugin's layers do with channels
    "hooks": ((),),
    "precision": ("float32", "bfloat16"),
}
_APART = {*_OWN, "normalizer", "optimizer"}


def obstacle(specs: Sequence[JobSpec], kind: Optional[str] = None) -> Optional[FieldProblem]:
    """
    Return why *specs* cannot be the members of one pack; None if they can.

    Members may differ in seeds, in the numbers of optimizer and schedule, in the smoothing of
    labels, and in numbers of one kind of normalizer.

    Args:
        kind: the kind of device, if it is chosen; None for any that they may get.
    """
    for spec in specs:
        problem = _unknown_in(spec) or _unknown_in_optimizer(spec) or _of_devices(spec, kind)
        if problem is not None:
            return problem
    return next(_differences([{**_common(s), **_common_in_optimizer(s)} for s in specs]), None)


def group_of(spec: JobSpec, *, by_itself: bool, kind: Optional[str] = None) -> Optional[str]:
    """
    Return the common part of jobs that can be members of one pack; None if *spec* cannot be one.

    Args:
        by_itself: the user gave no number of members, so jobs with different time limits are kept
            apart.
        kind: the kind of device, if it is chosen; None for any that it may get.
    """
    if obstacle([spec], kind) is not None:
        return None
    common = {**_common(spec), **_common_in_optimizer(spec)}
    if by_itself:
        common["time_limit_s"] = spec.time_limit_s
    return _text(common)


def layer_of(spec: JobSpec) -> str:
    """Return the options that are equal in members of a pack with one common normalizer layer."""
    return _text(_in_one_layer(spec))


def order_of_rows(specs: Sequence[JobSpec]) -> List[int]:
    """Return the numbers of the members; those with a common normalizer layer are side by side."""
    layers = [layer_of(spec) for spec in specs]
    return sorted(range(len(specs)), key=lambda member: layers.index(layers[member]))


def fields_apart(spec: JobSpec, other: JobSpec) -> List[str]:
    """Name the fields that keep two jobs out of one pack in which one layer serves all members."""
    first, second = (
        {
            **_common(job),
            **_common_in_optimizer(job),
            **{f"normalizer.{n}": own for n, own in _in_one_layer(job).items()},
            "time_limit_s": job.time_limit_s,
        }
        for job in (spec, other)
    )
    return sorted(n for n in {*first, *second} if first.get(n) != second.get(n))


def is_own(path: str) -> bool:
    """Return whether members may always differ at *path* of their specifications."""
    part, _, field = path.partition(".")
    return part in _OWN or (part == "optimizer" and field in _NUMBERS_OF_OPTIMIZERS)


def _unknown_in(spec: JobSpec) -> Optional[FieldProblem]:
    return next(_problems_of(spec), None)


def _problems_of(spec: JobSpec) -> Iterator[FieldProblem]:
    for field, values in _ONLY.items():
        value = getattr(spec, field)
        if value not in values:
            yield FieldProblem(field, f"jobs with {value!r} cannot be members of a pack")
    facts = MODELS.own.get(spec.model.name)
    if facts is None or not facts.packs:
        rule = "cannot be packed, because it is not known what its layers do with channels"
        able = [name for name, own in MODELS.own.items() if own.packs]
        offered = f"these can be packed: {', '.join(able)}"
        yield FieldProblem("model.name", f"{spec.model.name!r} {rule}; {offered}")
    if spec.model.drops:
        yield FieldProblem("model", "a network with dropout or stochastic depth cannot be packed")
    if spec.loading.mode == "stream":
        yield FieldProblem("loading.mode", "a pack keeps its data in memory, and 'stream' does not")
    # a field that is newer than these lists may change the update
    for field in _set_in(JobSpec, spec, {*_OWN, *_SAME, *_ONLY}):
        yield FieldProblem(field, "a pack cannot train with this field")


def _of_devices(spec: JobSpec, kind: Optional[str]) -> Optional[FieldProblem]:
    """Return why no device that *spec* may get (or *kind*, if given) trains it in a pack."""
    kinds = [kind] if kind is not None else DEVICES if spec.device == "auto" else [spec.device]
    first = [next(_of_device(spec, DEVICES[each]), None) for each in kinds]
    return None if None in first else first[0]


def _of_device(spec: JobSpec, facts: DeviceFacts) -> Iterator[FieldProblem]:
    packs = facts.packs
    if packs is None:
        yield FieldProblem("device", f"packs do not run on {facts.kind}")
    elif spec.acceleration not in ("none", *packs.accelerations):
        offered = ", ".join(("none", *packs.accelerations))
        rule = f"{spec.acceleration!r} cannot be used for packs on {facts.kind}; use {offered}"
        yield FieldProblem("acceleration", rule)
    else:
        yield from further(packs.rules, spec)


def _unknown_in_optimizer(spec: JobSpec) -> Optional[FieldProblem]:
    optimizer = spec.optimizer
    if not optimizer.packs:
        able = [name for name, own in OPTIMIZERS.own.items() if own.packs]
        rule = f"{optimizer.name!r} cannot train packs; use one of {', '.join(able)}"
        return FieldProblem("optimizer.name", rule)
    for field in _set_in(type(optimizer), optimizer, _OF_OPTIMIZERS):
        return FieldProblem(f"optimizer.{field}", "a pack cannot train with this option")
    return None


def _set_in(kind: Type[Spec], part: Any, known: Set[str]) -> List[str]:
    """Name the fields of *part* that differ from their defaults, except the *known* ones."""
    unknown = {name: default for name, default in _defaults(kind).items() if name not in known}
    return sorted(name for name, default in unknown.items() if getattr(part, name) != default)


@lru_cache(maxsize=None)
def _defaults(kind: Type[Spec]) -> Dict[str, Any]:
    fields = kind.model_fields.items()
    return {name: field.get_default(call_default_factory=True) for name, field in fields}


def _common(spec: JobSpec) -> Dict[str, Any]:
    """Return the values that are equal in all members, except those of the optimizer."""
    fields = [field for field in JobSpec.model_fields if field not in _APART]
    found = {field: _plain(getattr(spec, field)) for field in fields}
    options = _plain(spec.normalizer).items()
    found.update({f"normalizer.{n}": own for n, own in options if not _is_number(own)})
    return found


def _in_one_layer(spec: JobSpec) -> Dict[str, Any]:
    """Return the options of the normalizer that are equal if one layer serves all members."""
    options: Dict[str, Any] = _plain(spec.normalizer)
    own = spec.normalizer.packed_options
    return {n: value is None if n in own else value for n, value in options.items()}


def _common_in_optimizer(spec: JobSpec) -> Dict[str, Any]:
    options = _plain(spec.optimizer).items()
    return {f"optimizer.{n}": own for n, own in options if n not in _NUMBERS_OF_OPTIMIZERS}


def _text(values: Dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.model_dump() if isinstance(value, BaseModel) else value


def _differences(members: Sequence[Dict[str, Any]]) -> Iterator[FieldProblem]:
    first = members[0]
    for other in members[1:]:
        for field in sorted({*first, *other}):
            a, b = first.get(field), other.get(field)
            if a != b:
                yield FieldProblem(
                    field, f"members of a pack need the same value, but these have {a!r} and {b!r}"
                )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
