"""Start a training from the weights of a file, with frozen parts if the job asks for them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import safetensors
import safetensors.torch
from torch import Tensor, nn

from normlab.data.training_data import TrainingData
from normlab.errors import FieldProblem, InvalidSpec
from normlab.norms import apply_weight_normalization, remove_weight_normalization
from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import parse_normalizer
from normlab.specs.starting_weights import InitFrom
from normlab.training.fitting import Fitting, matches
from normlab.training.swapping import norm_places, plain_weights, swap_normalizers
from normlab.training.weights import SIZES

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SHOWN = 8  # names in an error


def start_from(
    model: nn.Module, spec: JobSpec, data: TrainingData, weights: Optional[Path]
) -> Dict[str, Any]:
    """
    Load *weights* into *model*, and freeze what *spec* names; return a description of what was
    done.

    Call it after the network is built and before the optimizer is made. Parameters of
    normalizations of weights may be replaced.

    Args:
        data: the data for which the model was built.
        weights: the file that `spec.init_from` names.

    Raises:
        InvalidSpec: the file has other content or is damaged, it does not fit, or a pattern matches
            nothing.
    """
    said: Dict[str, Any] = {}
    if spec.init_from is not None:
        said["init_from"] = _load(model, spec, spec.init_from, data, weights)
    if spec.freeze:
        said["frozen"] = _freeze(model, spec.freeze)
    return said


def _load(
    model: nn.Module, spec: JobSpec, start: InitFrom, data: TrainingData, weights: Optional[Path]
) -> Dict[str, Any]:
    tensors, said, sha256 = _read(weights, start)
    source = _normalizer_in(said)
    swap = start.normalizers == "swap" and not _alike(source, spec.normalizer)
    if swap and source is not None and source.acts_on_weights:
        tensors = plain_weights(spec, source, tensors, _sizes(said, data))
    if swap:  # if our kind normalizes weights, it starts from those of the file
        remove_weight_normalization(model)
    fitting = Fitting(model, tensors)
    if swap:
        swap_normalizers(fitting, source)
    if start.head == "new":
        fitting.leave(head_of(model, data.num_classes))
    problems = fitting.load_rest(start.missing, start.unused)
    if problems:
        raise _misfit(model, spec, start, problems)
    if swap:
        apply_weight_normalization(model, spec.normalizer)
    return {"weights": start.named, "sha256": sha256, **fitting.told()}


def _read(path: Optional[Path], start: InitFrom) -> Tuple[Dict[str, Tensor], Dict[str, str], str]:
    """Return the tensors of the file at *path*, its metadata, and the SHA-256 of its content."""
    if path is None:
        raise InvalidSpec(
            f"init_from: the weights of {start.named} were not given to the training; give their "
            "file to fit, or submit the job to a service"
        )
    try:
        content = path.read_bytes()
    except OSError as e:
        raise InvalidSpec(f"init_from: the weights of {start.named}: {path}: {e.strerror}") from e
    found = hashlib.sha256(content).hexdigest()
    if start.sha256 not in (None, found):
        raise InvalidSpec(
            f"init_from: the weights of {start.named} were changed: their SHA-256 is {found} now, "
            f"and was {start.sha256} when the job was accepted; submit a new job to use them"
        )
    try:
        tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError as e:
        raise InvalidSpec(
            f"init_from: {path.name} is damaged, or is not a safetensors file: {e}"
        ) from e
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, head.get("__metadata__", {}), found


def _normalizer_in(said: Mapping[str, str]) -> Optional[NormSpec]:
    """Return the normalizer that the file's metadata name; None if they name none we know."""
    try:
        return parse_normalizer(json.loads(said["job"])["normalizer"])
    except (KeyError, TypeError, ValueError):
        return None


def _alike(source: Optional[NormSpec], ours: NormSpec) -> bool:
    """Return whether both have the same state with the same names."""
    return source is not None and _layout(source) == _layout(ours)


def _layout(norm: NormSpec) -> Tuple[Any, ...]:
    return norm.kind, getattr(norm, "proxy", False), getattr(norm, "affine", None)


def _sizes(said: Mapping[str, str], data: TrainingData) -> Tuple[int, int, int]:
    """Return channels, classes and side that the file's network was built for."""
    sizes = json.loads(said.get("sizes", "{}"))
    ours = (data.channels, data.num_classes, data.image_size)
    channels, classes, side = (sizes.get(n, own) for n, own in zip(SIZES, ours))
    return channels, classes, side


def head_of(model: nn.Module, num_classes: int) -> str:
    """
    Return the name of the last layer, whose weight has a row for each class.

    Raises:
        InvalidSpec: there is none.
    """
    found: List[str] = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, *CONVS)) and _rows(module) == num_classes
    ]
    if not found:
        raise InvalidSpec(
            f"init_from.head: no layer of this network has {num_classes} outputs, one for each "
            "class; name the parameters that start with new values in init_from.missing"
        )
    return found[-1]


def _rows(layer: Any) -> int:
    return int(getattr(layer, "out_features", 0) or getattr(layer, "out_channels", 0))


def _misfit(
    model: nn.Module, spec: JobSpec, start: InitFrom, problems: Sequence[str]
) -> InvalidSpec:
    shown = "; ".join(problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    rule = (
        f"the weights of {start.named} do not fit {spec.model.name} with {spec.normalizer.kind!r}: "
        f"{shown}{more}. {_way_out(model, start, problems)}"
    )
    return InvalidSpec.of([FieldProblem("init_from", rule)])


def _way_out(model: nn.Module, start: InitFrom, problems: Sequence[str]) -> str:
    names = [problem.partition(" ")[0] for problem in problems]
    places = [f"{place}." for place, _ in norm_places(model)]
    ways = []
    if start.normalizers == "load" and any(n.startswith(p) for n in names for p in places):
        ways.append("normalizers: swap, to exchange normalizers of another kind")
    if start.head == "load" and any(" in the file and " in problem for problem in problems):
        ways.append("head: new, if the classes differ")
    ways.append("missing and unused, with patterns of what may differ")
    return f"In init_from, set {'; or '.join(ways)}"


def _freeze(model: nn.Module, patterns: Sequence[str]) -> List[str]:
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            some = ", ".join(names[:_SHOWN])
            rule = f"no parameter is called {pattern!r}; there are {some} and so on"
            raise InvalidSpec.of([FieldProblem("freeze", rule)])
    frozen = [name for name in names if matches(name, patterns)]
    if len(frozen) == len(names):
        rule = f"{', '.join(patterns)} freezes every parameter, so nothing is left to train"
        raise InvalidSpec.of([FieldProblem("freeze", rule)])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return frozen
