"""The hooks of a job, as observers of its training."""

from __future__ import annotations

from typing import Dict, Sequence

from normlab.diagnostics.authors import ActingObserver
from normlab.diagnostics.moment import Observer
from normlab.specs.measures import HOOKS
from normlab.specs.named_objects import named_object


def make_hooks(names: Sequence[str]) -> Dict[str, Observer]:
    """Make the hooks that a job names, under names that no diagnostic has."""
    return {f"hook {name}": ActingObserver(named_object(HOOKS[name].path)()) for name in names}
