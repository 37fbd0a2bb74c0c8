"""The names that a job may use: normlab's own, and those of the plugins in force."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar

EntryT = TypeVar("EntryT")

NORMALIZERS, NETWORKS, DATASETS = "normalizer", "network", "dataset"
TASKS, METRICS, HOOKS, DIAGNOSTICS = "task", "metric", "hook", "diagnostic"
OPTIMIZERS, SCHEDULES, AUGMENTATIONS = "optimizer", "schedule", "augmentation"


@dataclass(frozen=True)
class Plugin:
    """
    The facts about the names that one piece of code adds; nothing of it is imported here.

    Attributes:
        digest: the SHA-256 of its source, in hex digits.
        name: a readable name, such as "my_norms.py".
        entries: for each part (`NORMALIZERS`, ...), the entries by name.
        needs: packages that an interpreter must have to load it, as requirements.
    """

    digest: str
    name: str
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    needs: Tuple[str, ...] = field(default=(), compare=False)


Finder = Callable[[str], Optional[Plugin]]

_everywhere: Dict[str, Plugin] = {}  # the operator's by digest; every job may use them
_finder: List[Finder] = []  # the function that finds others by digest, or empty
_named: ContextVar[Tuple[Plugin, ...]] = ContextVar("plugins named by a job", default=())


class Registry(Mapping[str, EntryT]):
    """
    A mapping from names to entries, with those of plugins.

    Args:
        part: the part of plugins that belongs here.
        own: normlab's own entries, whose names no plugin can take.
    """

    def __init__(self, part: str, own: Mapping[str, EntryT]) -> None:
        self.part = part
        self.own = dict(own)

    def __getitem__(self, name: str) -> EntryT:
        """Return the entry *name*; raise KeyError."""
        if name in self.own:
            return self.own[name]
        plugin = provider(self.part, name)
        if plugin is None:
            raise KeyError(name)
        found: EntryT = plugin.entries[self.part][name]
        return found

    def plugin_of(self, name: str) -> Optional[Plugin]:
        """Return the plugin of *name*; None for normlab's own and for unknown names."""
        return None if name in self.own else provider(self.part, name)

    def __iter__(self) -> Iterator[str]:
        """List the names, normlab's own first."""
        yield from self.own
        for plugin in in_force():
            yield from plugin.entries.get(self.part, ())

    def __len__(self) -> int:
        """Count the names."""
        return sum(1 for _ in self)


def in_force() -> Tuple[Plugin, ...]:
    """Return the plugins whose names can be used here and now."""
    named = _named.get()
    others = (p for p in _everywhere.values() if p not in named)
    return (*named, *others)


def provider(part: str, name: str) -> Optional[Plugin]:
    """Return the plugin in force that has the entry *name*; None if there is none."""
    return next((p for p in in_force() if name in p.entries.get(part, ())), None)


def put_in_force(plugins: Sequence[Plugin]) -> None:
    """Let every job of this process use *plugins*, and no others unless it names them."""
    _everywhere.clear()
    _everywhere.update((plugin.digest, plugin) for plugin in plugins)


def find_with(finder: Optional[Finder]) -> None:
    """Use *finder* to find the plugins that a job names; with None, none can be found."""
    _finder[:] = [] if finder is None else [finder]


def find(digest: str) -> Optional[Plugin]:
    """Return the plugin with *digest*; None if this process does not know it."""
    if digest in _everywhere:
        return _everywhere[digest]
    return _finder[0](digest) if _finder else None


@contextmanager
def naming(plugins: Sequence[Plugin]) -> Iterator[None]:
    """Put *plugins* in force, before all others, while the context is open."""
    before = _named.set(tuple(plugins))
    try:
        yield
    finally:
        _named.reset(before)


def named_object(path: str) -> Any:
    """
    Import what *path* names, such as "normlab.norms.batch:BatchNorm".

    `pkgutil.resolve_name` does this from Python 3.9 on.

    Raises:
        ImportError: there is no such module, or it has no such object.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as e:
        raise ImportError(f"{module} has no {name!r}") from e
