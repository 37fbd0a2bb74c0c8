"""Where a plugin's source comes from: its folder, and the state of its repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Dict, List, Optional

_MOST = 100_000  # characters of a difference that are kept
_WITHIN_S = 10.0


def origin_of(path: Path) -> Dict[str, str]:
    """Return folder, git commit and what differs from it; without git, the folder alone."""
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
