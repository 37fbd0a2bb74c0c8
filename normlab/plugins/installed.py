"""Plugins that are installed packages: they name themselves by the entry point normlab.plugins."""

from __future__ import annotations

import importlib.metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import List

GROUP = "normlab.plugins"


def packages() -> List[Path]:
    """Return where the installed plugins lie, each once; nothing of them is imported."""
    found = []
    for point in _entry_points():
        spec = PathFinder.find_spec(point.value.partition(":")[0].partition(".")[0])
        if spec is None or spec.origin is None:
            continue
        path = Path(spec.origin)
        found.append(path.parent if path.name == "__init__.py" else path)
    return list(dict.fromkeys(found))


def _entry_points() -> List[importlib.metadata.EntryPoint]:
    points = importlib.metadata.entry_points()
    if hasattr(points, "select"):  # since Python 3.10
        return list(points.select(group=GROUP))
    return list(points.get(GROUP, ()))
