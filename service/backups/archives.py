"""The form of a backup: a folder or a tar file, which appears complete or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from normlab.errors import Conflict, InvalidSpec, StorageFull
from normlab.host.disks import is_full, sync_folder
from service.backups.manifest import NAME, BackupFile, Manifest

_PIECE_BYTES = 1 << 20


class Writer(Protocol):
    """Takes the files of a new backup."""

    def add(self, name: str, source: IO[bytes], size: int) -> BackupFile:
        """Copy *size* bytes of *source* to *name*; return what was copied."""


class _Hashing:
    """A file that is read, and the hash of what was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self._hash.update(piece)
        self.bytes += len(piece)
        return piece

    def as_file(self, name: str) -> BackupFile:
        return BackupFile(name=name, sha256=self._hash.hexdigest(), bytes=self.bytes)


class _FolderWriter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, source: IO[bytes], size: int) -> BackupFile:
        path = self._folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reading = _Hashing(source)
        with path.open("wb") as out:
            shutil.copyfileobj(reading, out, _PIECE_BYTES)
            out.flush()
            os.fsync(out.fileno())
        return reading.as_file(name)


class _TarWriter:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, name: str, source: IO[bytes], size: int) -> BackupFile:
        about = tarfile.TarInfo(name)
        about.size, about.mode = size, 0o600
        reading = _Hashing(source)
        self._tar.addfile(about, reading)
        return reading.as_file(name)


@contextmanager
def _folder_writer(folder: Path) -> Iterator[Writer]:
    folder.mkdir(mode=0o700, parents=True)
    yield _FolderWriter(folder)
    for inner, _, _ in os.walk(folder):
        sync_folder(Path(inner))


@contextmanager
def _tar_writer(path: Path) -> Iterator[Writer]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            yield _TarWriter(tar)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def writing(target: Path) -> Iterator[Writer]:
    """
    Yield a writer of *target*, which appears when the context ends without an error.

    Args:
        target: a tar file if it ends in `.tar`, else a folder.

    Raises:
        Conflict: *target* exists.
        StorageFull: no space is left; what was written is removed.
    """
    _refuse_existing(target)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with _tar_writer(draft) if target.suffix == ".tar" else _folder_writer(draft) as writer:
            yield writer
        _refuse_existing(target)
        draft.rename(target)
        sync_folder(target.parent)
    except OSError as e:
        if is_full(e):
            raise StorageFull(
                f"no space is left for the backup {target} ({e.strerror}); nothing of it is kept"
            ) from e
        raise
    finally:
        _remove(draft)


@contextmanager
def reading(source: Path) -> Iterator[Archive]:
    """Yield the backup at *source*; raise InvalidSpec if there is none."""
    if source.is_dir():
        yield _Folder(source)
        return
    try:
        with tarfile.open(source, "r:") as tar:
            yield _Tar(source, tar)
    except FileNotFoundError as e:
        raise InvalidSpec(f"there is no backup at {source}") from e
    except tarfile.TarError as e:
        raise InvalidSpec(f"{source} is not a backup, or its end is missing: {e}") from e


class Archive:
    """An existing backup."""

    def __init__(self, where: Path) -> None:
        self.where = where
        with self._open(NAME) as file:
            self.manifest = Manifest.read(file.read(), str(where))

    def copy(self, file: BackupFile, to: IO[bytes]) -> None:
        """Copy *file* to *to*; raise InvalidSpec if it is not what was backed up."""
        with self._open(file.name) as source:
            read = _Hashing(source)
            shutil.copyfileobj(read, to, _PIECE_BYTES)
        found = read.as_file(file.name)
        if found != file:
            raise InvalidSpec(
                f"{self.where} is damaged: {file.name} has {found.bytes} bytes with the SHA-256 "
                f"{found.sha256}, and {file.bytes} with {file.sha256} were backed up; "
                "use another backup"
            )

    def _open(self, name: str) -> IO[bytes]:
        raise NotImplementedError

    def _missing(self, name: str) -> InvalidSpec:
        return InvalidSpec(f"{self.where} is not a whole backup: it has no {name}")


class _Folder(Archive):
    def _open(self, name: str) -> IO[bytes]:
        try:
            return (self.where / name).open("rb")
        except FileNotFoundError as e:
            raise self._missing(name) from e


class _Tar(Archive):
    def __init__(self, where: Path, tar: tarfile.TarFile) -> None:
        self._tar = tar
        super().__init__(where)

    def _open(self, name: str) -> IO[bytes]:
        try:
            file = self._tar.extractfile(name)
        except KeyError as e:
            raise self._missing(name) from e
        if file is None:
            raise self._missing(name)
        return file


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise Conflict(f"{target} exists already; name another place for the backup")


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
