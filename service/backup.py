"""
`python -m service.backup write|restore|check PATH`: backups of this user's stack.

It prints JSON, one object per line: `{"done": ..., "all": ...}` in bytes while it works, and
last the manifest without its files, or a problem with its `code`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normlab.errors import InvalidSpec, NormlabError, ServiceUnavailable
from normlab.host.locks import held, is_held
from normlab.host.private_files import keep_private
from normlab.stacks.running import LOCK_NAME
from service.backups.manifest import Manifest
from service.backups.restoring import restore
from service.backups.writing import check_backup, write_backup
from service.servers import embedded
from service.servers.servers_file import read_servers
from service.settings import Settings
from service.storage import open_store

_SAY_EVERY_S = 0.2
_STARTING = "the stack on {} is starting or stopping; try again when it runs"


def main() -> int:
    """Do what the arguments say; return 0, or 1 if the last line is a problem."""
    keep_private()
    verb, path = sys.argv[1], Path(sys.argv[2]).absolute()
    try:
        manifest = _do(verb, path, Settings.from_env())
    except NormlabError as e:
        _say({"code": e.code, "detail": str(e), "errors": []})
        return 1
    except OSError as e:
        detail = f"{e.filename or path}: {e.strerror}"
        _say({"code": InvalidSpec.code, "detail": detail, "errors": []})
        return 1
    _say(_summary(manifest, path))
    return 0


def _do(verb: str, path: Path, settings: Settings) -> Manifest:
    progress = _Progress()
    if verb == "restore":
        return restore(path, settings, progress)
    if verb == "check":
        return check_backup(path, progress)
    files = open_store(settings)
    with _database_of(settings) as url:
        return write_backup(url, settings.data_dir.absolute(), files, path, progress)


@contextmanager
def _database_of(settings: Settings) -> Iterator[str]:
    """Give the URL of the stack's database; start an embedded one that does not run."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    data_dir = settings.data_dir.absolute()
    if is_held(data_dir / LOCK_NAME):
        running = read_servers(data_dir)
        if running is None:
            raise ServiceUnavailable(_STARTING.format(data_dir))
        yield running.database_url
        return
    if not (data_dir / "postgres").exists():
        raise InvalidSpec(f"{data_dir} has no stack; name its folder with --data-dir")
    with held(data_dir / LOCK_NAME, _STARTING.format(data_dir)):
        servers = embedded.start(settings.model_copy(update={"broker_url": "memory://"}))
        try:
            yield servers.database_url
        finally:
            servers.stop()


class _Progress:
    """Prints the progress from time to time."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, whole: int) -> None:
        if time.monotonic() >= self._next or done == whole:
            self._next = time.monotonic() + _SAY_EVERY_S
            _say({"done": done, "all": whole})


def _summary(manifest: Manifest, path: Path) -> dict[str, object]:
    told = manifest.model_dump(mode="json", exclude={"files"})
    return {"path": str(path), **told, "files": len(manifest.files), "bytes": manifest.size}


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
