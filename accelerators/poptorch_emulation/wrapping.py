"""Modules that a training program holds; reading their weights fetches them from the device."""

from __future__ import annotations

import copy
from typing import Any, Iterator, Tuple

from torch import nn

_TRAINER = "_poptorch_trainer"


def trainer_of(model: nn.Module) -> Any:
    """Return the training program that holds *model*, or None."""
    return vars(model).get(_TRAINER)


def wrap(model: nn.Module, executor: Any) -> None:
    """Make *model* fetch its weights from *executor* before they are read."""
    kind = type(model)
    wrapped = type(kind.__name__, (_Fetching, kind), {"_poptorch_kind": kind})
    model.__class__ = wrapped
    vars(model)[_TRAINER] = executor


def unwrap(model: Any) -> None:
    """Restore *model*."""
    model.__class__ = model._poptorch_kind
    del vars(model)[_TRAINER]


def unwrapped_copy(model: nn.Module) -> nn.Module:
    """Copy *model* without the program that may hold it."""
    trainer = trainer_of(model)
    if trainer is None:
        return copy.deepcopy(model)
    twin = copy.deepcopy(model, {id(trainer): None})
    unwrap(twin)
    return twin


class _Fetching(nn.Module):
    """The hooks of a wrapped module that run before its weights are read."""

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[Tuple[str, nn.Parameter]]:
        vars(self)[_TRAINER].copyWeightsToHostIfNeeded()
        return super().named_parameters(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        vars(self)[_TRAINER].copyWeightsToHostIfNeeded()
        return super().state_dict(*args, **kwargs)
