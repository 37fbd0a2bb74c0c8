"""The source of a plugin: a file or a folder, addressed by its content."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, Mapping, Tuple

from normlab.errors import InvalidSpec, NotFound

MOST_BYTES = 4 << 20  # the size limit of a plugin, which is code and not data
_LEFT_OUT = ("__pycache__", ".git", ".venv", ".ipynb_checkpoints")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # a fixed date, so that the same content gives the same archive


@dataclass(frozen=True)
class PluginFiles:
    """The files of a plugin by relative path; one file, or all of a folder."""

    name: str
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Return the SHA-256 over paths and contents, not the name, in 64 hex digits."""
        whole = hashlib.sha256()
        for path in sorted(self.files):
            for part in (path.encode(), self.files[path]):
                whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()

    def packed(self) -> bytes:
        """Return the files as one zip archive; the same content gives the same bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self.files):
                archive.writestr(zipfile.ZipInfo(path, _LONG_AGO), self.files[path])
        return buffer.getvalue()

    def written_below(self, folder: Path) -> Path:
        """Write the files to *folder*/digest unless they are there, and return that folder."""
        place = folder / self.digest
        if place.is_dir():
            return place
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        for path, content in self.files.items():
            target = draft / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        try:
            draft.rename(place)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
        return place


def read_source(path: Path) -> PluginFiles:
    """
    Read the plugin at *path*: a .py file, or a folder with at least one.

    Raises:
        NotFound: there is no such file or folder.
        InvalidSpec: it contains no Python file, or more than MOST_BYTES.
    """
    if path.is_file():
        if path.suffix != ".py":
            raise InvalidSpec(f"{path}: a plugin is a .py file or a folder of them")
        return checked(PluginFiles(path.name, {path.name: path.read_bytes()}))
    if not path.is_dir():
        raise NotFound(f"{path}: no such file or folder; name the file or folder of a plugin")
    return checked(PluginFiles(path.absolute().name, dict(_files_of(path))))


def unpacked(name: str, archive: bytes) -> PluginFiles:
    """
    Return the source in the zip *archive*.

    Raises:
        InvalidSpec: it is not an archive, is too large, or has a path that leads out of its folder.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            if sum(info.file_size for info in infos) > MOST_BYTES:
                raise InvalidSpec(_too_large(name))
            files = {info.filename: opened.read(info) for info in infos}
    except (zipfile.BadZipFile, EOFError, OSError) as e:
        raise InvalidSpec(f"{name}: not a zip archive: {e}") from e
    return checked(PluginFiles(name, files))


def _files_of(folder: Path) -> Iterator[Tuple[str, bytes]]:
    found: Dict[str, Path] = {}
    size = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(root) / name
            size += path.stat().st_size
            if size > MOST_BYTES:
                raise InvalidSpec(_too_large(str(folder)))
            found[path.relative_to(folder).as_posix()] = path
    for relative, path in found.items():
        if path.suffix not in (".pyc", ".pyo"):
            yield relative, path.read_bytes()


def checked(source: PluginFiles) -> PluginFiles:
    """Return *source* if it can be a plugin; raise InvalidSpec otherwise."""
    if sum(map(len, source.files.values())) > MOST_BYTES:
        raise InvalidSpec(_too_large(source.name))
    for name in source.files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name:
            raise InvalidSpec(f"{source.name}: {name!r} leads out of its folder")
    if not any(name.endswith(".py") for name in source.files):
        raise InvalidSpec(f"{source.name}: no .py file in it, so there is nothing to load")
    return source


def _too_large(where: str) -> str:
    return (
        f"{where}: more than {MOST_BYTES >> 20} MiB; keep data out of the plugin's folder "
        "(datasets have the data root)"
    )
