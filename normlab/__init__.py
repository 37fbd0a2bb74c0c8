"""normlab: which normalizer still trains at batch size 2, and why."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Dict

if TYPE_CHECKING:
    from normlab.client import AsyncClient, Client, runs, stack

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Client",
    "__version__",
    "augmentation",
    "convert",
    "dataset",
    "diagnostic",
    "hook",
    "load",
    "metric",
    "network",
    "normalizer",
    "optimizer",
    "runs",
    "schedule",
    "stack",
    "task",
]

normalizer: Callable[..., Any]
network: Callable[..., Any]
dataset: Callable[..., Any]
task: Callable[..., Any]
metric: Callable[..., Any]
hook: Callable[..., Any]
diagnostic: Callable[..., Any]
optimizer: Callable[..., Any]
schedule: Callable[..., Any]
augmentation: Callable[..., Any]
convert: Callable[..., Any]  # not imported for type checkers: the import contracts would see torch
load: Callable[..., Any]

# name: its module, imported at the first use, so that `import normlab` is fast
_LATER: Dict[str, str] = {
    "AsyncClient": "normlab.client",
    "Client": "normlab.client",
    "runs": "normlab.client",
    "stack": "normlab.client",
    "convert": "normlab.norms.conversion",
    "load": "normlab.trained",
    "normalizer": "normlab.plugins.declaring",
    "network": "normlab.plugins.declaring_data",
    "dataset": "normlab.plugins.declaring_data",
    "task": "normlab.plugins.declaring_measures",
    "metric": "normlab.plugins.declaring_measures",
    "hook": "normlab.plugins.declaring_measures",
    "diagnostic": "normlab.plugins.declaring_measures",
    "optimizer": "normlab.plugins.declaring_recipes",
    "schedule": "normlab.plugins.declaring_recipes",
    "augmentation": "normlab.plugins.declaring_recipes",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'normlab' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
