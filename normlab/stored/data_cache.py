"""Results that are stored below the data root: indexes, surveys, unpacked files."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from pathlib import Path
from typing import ContextManager, Optional

from normlab.errors import DatasetUnusable
from normlab.host.locks import held

FOLDER = ".normlab"


class DataCache:
    """
    A folder below the data root for results that can be computed again, but slowly.

    Names contain a hash of the source of the content, so nothing in it becomes wrong. It may be
    deleted while no job runs. If it cannot be written, nothing is kept.
    """

    def __init__(self, data_root: Path) -> None:
        self._folder = data_root / FOLDER

    def path(self, kind: str, made_from: str, suffix: str) -> Path:
        """Return the path of a *kind* of content that is made from *made_from*."""
        return self._folder / f"{kind}-{hashlib.sha256(made_from.encode()).hexdigest()}{suffix}"

    def read(self, path: Path) -> Optional[bytes]:
        """Return the stored content of *path*, or None."""
        try:
            return path.read_bytes()
        except OSError:
            return None

    def write(self, path: Path, content: bytes) -> None:
        """Keep *content* at *path*, if the folder can be written."""
        part = path.with_suffix(f".{os.getpid()}.part")
        if not self._is_writable():
            print(f"{self._folder} cannot be written, so the next job will read everything again")
            return
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def alone(self, path: Path) -> ContextManager[None]:
        """Let one process at a time compute the content of *path*; the others wait and read it."""
        if not self._is_writable():
            return nullcontext()  # then each process computes it itself
        return held(path.with_suffix(".lock"))

    def _is_writable(self) -> bool:
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError:
            return False
        return os.access(self._folder, os.W_OK)

    def require_folder(self, why: str) -> None:
        """
        Make the folder.

        Raises:
            DatasetUnusable: it cannot be written; the message says *why* it is needed.
        """
        if not self._is_writable():
            raise DatasetUnusable(
                f"{why}, and {self._folder} cannot be written; let the worker write there"
            )
