"""The hooks of a job, as observers of its training."""

from __future__ import annotations

from typing import Any, Dict, Sequence

from normlab.diagnostics.authors import ActingObserver
from normlab.diagnostics.moment import Observer
from normlab.specs.measures import HOOKS
from normlab.specs.named_objects import named_object
from normlab.specs.named_parts import NamedPart


def make_hooks(parts: Sequence[NamedPart]) -> Dict[str, Observer]:
    """Make the hooks that a job names, under names that no diagnostic has."""
    return {f"hook {part.name}": ActingObserver(_made(part)) for part in parts}


def _made(part: NamedPart) -> Any:
    return named_object(HOOKS[part.name].path)(**part.options)
