"""Find the facts about a job's network, data and measures, which its own code may define."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar, cast

from normlab.specs import registries
from normlab.specs.jobs import plugins_named

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def under_its_code(function: FunctionT) -> FunctionT:
    """
    Let *function*, whose first argument is a job, find the plugins in the job's `code`.

    The tables of networks, datasets, tasks, metrics and hooks have those of the operator's plugins
    everywhere, and those of a plugin that a user uploaded only for the jobs that name it.
    """

    @functools.wraps(function)
    def found(spec: Any, *rest: Any, **named: Any) -> Any:
        if not spec.code:
            return function(spec, *rest, **named)
        with registries.naming(plugins_named(spec.code)):
            return function(spec, *rest, **named)

    return cast("FunctionT", found)
