"""The origin of a plugin's source: its folder, and the state of its repository."""

from __future__ import annotations

import importlib.metadata
import subprocess
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Dict, List, Optional

_MOST = 100_000  # characters of a difference that are kept
_WITHIN_S = 10.0


def origin_of(path: Path) -> Dict[str, str]:
    """Return the folder, the git commit and the difference from it; without git, the folder."""
    folder = path if path.is_dir() else path.parent
    found = {"folder": str(folder.absolute())}
    commit = _git(folder, ["rev-parse", "HEAD"])
    if commit:
        found["git_commit"] = commit.strip()
        changed = _git(folder, ["diff", "HEAD", "--", str(path.absolute())])
        found["git_diff"] = (changed or "")[:_MOST]
    return found


def _git(folder: Path, arguments: List[str]) -> Optional[str]:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


GROUP = "normlab.plugins"


def packages() -> List[Path]:
    """Return the folders of the installed plugins, without importing anything of them."""
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
