"""Build a user's own network to record the places of its normalizers and its output."""

from __future__ import annotations

import contextlib
from typing import Any, ContextManager, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.nets.factories import Factory, NormMaker, built
from normlab.nets.sites import NetSpec
from normlab.norms.conversion_places import find_places
from normlab.norms.foreign_norms import known
from normlab.specs.model_facts import NormPlace, SampleSize
from normlab.specs.normalizers import parse_normalizer
from normlab.specs.tasks import TASKS, Shape, TaskFacts, fits, written

_SAMPLES = 2


class _ShapeRecorder(nn.Module):
    """A placeholder for a normalizer that records the shape of its input."""

    def __init__(self, channels: int, shapes: List[Tuple[int, ...]]) -> None:
        super().__init__()
        self._channels = channels
        self._shapes = shapes

    def forward(self, x: Tensor) -> Tensor:
        """Record the shape of *x*."""
        if x.dim() < 2 or x.shape[1] != self._channels:
            raise InvalidSpec(
                f"norm({self._channels}) got an input of shape {tuple(x.shape)}; its channels "
                "are dimension 1"
            )
        self._shapes.append(tuple(x.shape))
        return x


class _Recorder(NormMaker):
    def __init__(self, shapes: List[Tuple[int, ...]]) -> None:
        super().__init__(parse_normalizer("none"))
        self._shapes = shapes

    def _make(self, channels: int, activation: Optional[str], dims: int) -> nn.Module:
        return _ShapeRecorder(channels, self._shapes)


def record(
    factory: Factory,
    takes_norm: bool,
    task: Optional[TaskFacts],
    size: SampleSize,
    options: Mapping[str, Any],
) -> Optional[List[NormPlace]]:
    """
    Return the places of the network's normalizers, or None if these have no square maps.

    The network runs on the meta device without computing, or on the CPU if it reads a value.

    Args:
        task: the task that says which output shape is expected; None for any shape.

    Raises:
        Exception: any error from building or running it.
    """
    try:
        return _record(torch.device("meta"), factory, takes_norm, task, size, options)
    except Exception:
        return _record(contextlib.nullcontext(), factory, takes_norm, task, size, options)


def _record(
    device: ContextManager[Any],
    factory: Factory,
    takes_norm: bool,
    task: Optional[TaskFacts],
    size: SampleSize,
    options: Mapping[str, Any],
) -> Optional[List[NormPlace]]:
    shapes: List[Tuple[int, ...]] = []
    net = NetSpec(parse_normalizer("none"), size.channels, size.classes, 0, size.side)
    shape = (size.channels, size.side, size.side) if task is None else _input_of(task, size)
    with device, torch.no_grad():
        model = built(factory, net, options, _Recorder(shapes) if takes_norm else None)
        if not takes_norm:
            _watch(model, shapes)
        logits = model(torch.zeros(_SAMPLES, *shape))
    if task is not None and task.name in TASKS.own:  # other tasks check outputs themselves
        _check(logits, task.output_shape(size.channels, size.classes, size.side))
    return _squares(shapes)


def _input_of(task: TaskFacts, size: SampleSize) -> Tuple[int, ...]:
    return task.input_shape(size.channels, size.side)


def _watch(model: nn.Module, shapes: List[Tuple[int, ...]]) -> None:
    places = [place for place in find_places(model) if known(place.layer) is not None]
    if not places:
        raise InvalidSpec(
            f"{type(model).__name__} has no norm layer of torch that could be exchanged; take "
            "`norm` in its factory and call norm(channels) where a normalizer belongs"
        )
    for layer in {id(place.layer): place.layer for place in places}.values():
        layer.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))


def _check(logits: Any, expected: Shape) -> None:
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    whole = (_SAMPLES, *expected)
    if isinstance(found, str) or not fits(found, whole):
        raise InvalidSpec(f"its output is {found}; expected predictions of shape {written(whole)}")


def _squares(shapes: List[Tuple[int, ...]]) -> Optional[List[NormPlace]]:
    found = []
    for _, channels, *positions in shapes:
        square = len(positions) == 0 or (len(positions) == 2 and positions[0] == positions[1])
        if not square:
            return None
        found.append(NormPlace(channels, positions[0] if positions else 1))
    return found


def defaults(options: Mapping[str, Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """Return the default of each option, or None if one has no default."""
    if any(schema.get("required") for schema in options.values()):
        return None
    return {name: schema.get("default") for name, schema in options.items()}
