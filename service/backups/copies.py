"""The files of jobs in a bucket: copied into a backup, and restored from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from normlab.errors import Conflict, InvalidSpec, NotFound
from service.backups.holding import NamedFile, named_files
from service.backups.manifest import JOBS, BackupFile
from service.storage.store import Store, StoredFile
from service.store.database import Database


class Copies:
    """
    Complete copies of objects below *folder*, with the recorded checksum.

    Args:
        store: where the objects are.
        folder: the folder of the copies.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def fetch_most(self, database: Database) -> None:
        """Copy what is there before the snapshot that must stay open for the few later ones."""
        with database.autocommit() as connection:
            files = named_files(connection)
        for file in files:
            self.hold(file)

    def path(self, file: NamedFile) -> Path:
        """Return the place of the copy of *file*."""
        return self._folder / file.place

    def hold(self, file: NamedFile) -> bool:
        """
        Copy *file*; return False if there is no such object, or it is damaged.

        Raises:
            ServiceUnavailable: the bucket does not answer.
        """
        if self.path(file).exists():
            return True
        try:
            self._store.fetch(StoredFile(file.place, file.sha256, file.bytes), self._folder)
        except NotFound:
            return False
        return True


def refuse_another(configured: str, announced: str) -> None:
    """Raise InvalidSpec if the API keeps files in another bucket than the settings here name."""
    if configured != announced:
        raise InvalidSpec(
            f"the API keeps the files of jobs in {announced or 'a folder'}, and here "
            f"NORMLAB_STORAGE names {configured or 'none'}; set it to the same value, so that the "
            f"backup has the files"
        )


def refuse_filled(store: Store) -> None:
    """Raise Conflict if there is anything in the bucket."""
    if not store.is_empty():
        raise Conflict(
            f"{store.url} is not empty, and two stacks never share a bucket and prefix; name an "
            "empty prefix with NORMLAB_STORAGE, or unset it to restore the files into the folder"
        )


def put_all(
    store: Store,
    folder: Path,
    files: Sequence[BackupFile],
    progress: Callable[[int, int], object],
) -> None:
    """Put the job files of a backup, which are in *folder*, into *store*: all of them or none."""
    whole, done = sum(file.bytes for file in files), 0
    places: list[str] = []
    try:
        for file in files:
            if not file.name.startswith(f"{JOBS}/"):
                continue
            places.append(file.name.removeprefix(f"{JOBS}/"))
            store.put(folder / file.name, StoredFile(places[-1], file.sha256, file.bytes))
            done += file.bytes
            progress(done, whole)
    except BaseException:
        store.remove(places)
        raise
