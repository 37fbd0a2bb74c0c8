"""Import the packages of other libraries' networks when needed, and check names and options."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Iterable, List, Mapping, NoReturn

import torch

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.zoo import INSTALL

_NEAR = 3


def package(name: str) -> Any:
    """
    Import the package *name*.

    Raises:
        InvalidSpec: the package is not installed, or is built for another torch.
    """
    try:
        return importlib.import_module(name)
    except ImportError as e:
        if e.name == name.partition(".")[0]:
            refuse("model.name", f"{name} is not installed where this job runs: {INSTALL}")
        refuse("model.name", f"{name} cannot be imported where this job runs: {e}")
    except RuntimeError as e:  # raised by torch if operators of a compiled part are missing
        refuse(
            "model.name",
            f"{name} cannot be imported beside this torch ({e}): install the torchvision of the "
            "same release and build, CPU or CUDA",
        )


def check_name(library: str, name: str, known: Iterable[str]) -> None:
    """
    Refuse a *name* that *library* does not have, and suggest the nearest names.

    Raises:
        InvalidSpec: there is no such network.
    """
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.5)
    near = near or [other for other in names if name in other][:_NEAR]
    offer = f"did you mean {' or '.join(near)}?" if near else f"it has {len(names)} others"
    refuse("model.name", f"{library} has no network {name!r}; {offer}")


def check_options(options: Mapping[str, Any], ours: Mapping[str, str]) -> None:
    """
    Refuse options that a job may not set.

    Args:
        ours: the names of these options, each with the reason.

    Raises:
        InvalidSpec: *options* has one of them.
    """
    problems = [
        FieldProblem(f"model.options.{name}", f"{ours[name]}; leave it out")
        for name in options
        if name in ours
    ]
    if problems:
        raise InvalidSpec.of(problems)


def refused_by(library: str, name: str, error: Exception) -> NoReturn:
    """
    Raise an error of *library* about the options of *name* as an error of the job.

    Raises:
        RuntimeError: *error* itself, if networks are built without values, which may be its cause.
    """
    if isinstance(error, RuntimeError) and torch.empty(0).is_meta:
        raise error
    said: List[str] = str(error).strip().splitlines() or [type(error).__name__]
    raise InvalidSpec.of(
        [
            FieldProblem(
                "model.options", f"{library} cannot make {name} with these options: {said[0]}"
            )
        ]
    ) from error


def refuse(field: str, rule: str) -> NoReturn:
    """Raise an error about one *field*."""
    raise InvalidSpec.of([FieldProblem(field, rule)])
