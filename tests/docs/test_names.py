"""The modules and files that the documentation and the deployments name exist."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.name != "decisions.md"),
]
DEPLOYMENTS = [
    ROOT / "compose.yaml",
    *(p for d in ("docker", "charts", "monitoring") for p in sorted((ROOT / d).rglob("*.*"))),
]
# normlab.job and its like are names of spans and of labels
NAME = re.compile(
    r"(?<![\w./-])(?:normlab\.\w+|service|workers|api|accelerators)(?:\.[A-Za-z_]\w*)+(?![\w/])"
)
FILE = re.compile(
    r"(?<![\w./-])(?:normlab|service|workers|api|accelerators|tests|benchmarks|docker|charts|monitoring)"
    r"(?:/[\w-]+)+\.(?:py|sh|yaml|yml|json|Dockerfile)\b"
)


def missing(text: str) -> list[str]:
    """Return the modules, attributes and files in *text* that do not exist."""
    files = [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    return files + [name for name in NAME.findall(text) if not is_importable(name)]


def is_importable(name: str) -> bool:
    """Whether *name* is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize(
    "file", [*PAGES, *DEPLOYMENTS], ids=lambda file: str(file.relative_to(ROOT))
)
def test_every_module_and_file_that_is_named_exists(file: Path) -> None:
    assert missing(file.read_text()) == []


def test_a_module_that_moved_is_found() -> None:
    text = "`normlab.norms.make` and `python -m service.gone`, see service/gone.py and api/main.py"
    assert missing(text) == ["service/gone.py", "service.gone"]
