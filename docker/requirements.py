"""Print the requirements of some of the project's extras: `requirements.py train server`."""

from __future__ import annotations

import sys
from pathlib import Path

import tomllib


def main() -> None:
    """Print the base dependencies, and those of the extras named on the command line."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [line for name in sys.argv[1:] for line in extras[name]]
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main()
