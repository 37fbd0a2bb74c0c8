"""Fetch a published dataset into the data root: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import Callable, Optional

from normlab.errors import DatasetUnusable
from normlab.host.locks import held
from normlab.stored.addresses import Publication
from normlab.stored.data_cache import FOLDER
from normlab.stored.downloads import DownloadProgress, download, is_whole

Tell = Callable[[str], DownloadProgress]
"""Takes the name of a file, and returns a function to which its progress is reported."""


def fetch(
    name: str, publication: Publication, data_root: Path, tell: Tell, mirror: Optional[str] = None
) -> Path:
    """
    Download and unpack *publication*, unless it is there already, and return its folder.

    Args:
        mirror: the address of a mirror that has the files at NAME/FILE, instead of the publisher's.

    Raises:
        ServiceUnavailable: a server does not answer.
        DatasetUnusable: a checksum differs, or an archive holds something else.
        Conflict: another process is fetching it.
    """
    folder = data_root / publication.folder
    if folder.is_dir():
        return folder
    address = publication.address if mirror is None else f"{mirror.rstrip('/')}/{name}/"
    draft = data_root / FOLDER / f"fetching-{name}"
    draft.mkdir(parents=True, exist_ok=True)
    busy = f"another process is fetching {name}; wait for it"
    with held(draft.with_suffix(".lock"), busy):
        for file in publication.files:
            path = draft / "files" / file.name
            if not is_whole(path, file.checksum):
                download(f"{address}{file.name}", path, file.checksum, tell(file.name))
        found = _unpacked(draft, publication) or draft / "files"
        _record(data_root, publication).write_text(_checksums(publication))
        found.replace(folder)
        shutil.rmtree(draft)
    return folder


def was_fetched(publication: Publication, data_root: Path) -> bool:
    """Return whether the folder of *publication* was made from exactly its files."""
    path = _record(data_root, publication)
    return path.is_file() and path.read_text() == _checksums(publication)


def _record(data_root: Path, publication: Publication) -> Path:
    return data_root / FOLDER / f"fetched-{publication.folder}"


def _checksums(publication: Publication) -> str:
    return "".join(f"{file.checksum}  {file.name}\n" for file in publication.files)


def _unpacked(draft: Path, publication: Publication) -> Optional[Path]:
    """Unpack the archive; return the folder that it contains, or None without an archive."""
    archives = [file.name for file in publication.files if file.name.endswith((".tgz", ".tar.gz"))]
    if not archives:
        return None
    unpacked = draft / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # left by a process that was stopped
    for name in archives:
        try:
            with tarfile.open(draft / "files" / name) as archive:
                for member in archive:
                    _extract(archive, member, unpacked)
        except (OSError, EOFError, tarfile.TarError) as e:
            raise DatasetUnusable(f"{name}: cannot be unpacked: {e}") from e
    found = unpacked / publication.folder
    if not found.is_dir():
        raise DatasetUnusable(f"{', '.join(archives)}: has no folder {publication.folder}")
    return found


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a plain file or folder; no dataset needs other members of an archive."""
    path = Path(os.path.normpath(folder / member.name))
    if folder not in path.parents and path != folder:
        raise DatasetUnusable(f"{archive.name!s}: {member.name} leads out of its folder")
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    content = archive.extractfile(member) if member.isfile() else None
    if content is None:
        raise DatasetUnusable(f"{archive.name!s}: {member.name} is neither a file nor a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)
