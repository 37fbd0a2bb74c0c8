"""The files of the pages. Their address changes with their content, so browsers can keep them."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

_FOLDER = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^(?:import|export)\b[^"]*"\./([\w/.]+)"', re.MULTILINE)
_VERSIONED = re.compile(r"([0-9a-f]{12})/(.+)")
_KEPT = "max-age=31536000, immutable"
_CHECKED = "no-cache"  # it is kept too, but a browser asks whether it has changed


class Static(StaticFiles):
    """The files, below their version and without it."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file at *path*."""
        found = _VERSIONED.fullmatch(path)
        response = await super().get_response(found[2] if found else path, scope)
        kept = found is not None and found[1] == version() and _is_of_version(found[2])
        response.headers["Cache-Control"] = _KEPT if kept else _CHECKED
        return response


@cache
def version() -> str:
    """Return a digest of all files: a module imports others at addresses relative to its own."""
    return hashlib.sha256(repr(sorted(_digests().items())).encode()).hexdigest()[:12]


@cache
def _digests() -> dict[str, str]:
    """Return the digest of each file by its path, as of the first call."""
    files = (path for path in _FOLDER.rglob("*") if path.is_file())
    return {path.relative_to(_FOLDER).as_posix(): _digest_of(path) for path in files}


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_of_version(name: str) -> bool:
    """Return whether a file is unchanged: an upgrade may replace it while the server runs."""
    path = _FOLDER / name
    return name in _digests() and path.is_file() and _digest_of(path) == _digests()[name]


@cache
def imported(name: str) -> tuple[str, ...]:
    """List the modules that the module *name* imports, and those that they import."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        for other in _IMPORT.findall((_FOLDER / waiting.pop()).read_text(encoding="utf-8")):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return tuple(found)
