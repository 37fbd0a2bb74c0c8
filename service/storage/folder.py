"""The files of jobs in a folder of this host, where the jobs themselves write them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from normlab.errors import NotFound, ServiceUnavailable
from service.storage.store import PIECE_BYTES, StoredFile


class FolderStore:
    """
    A folder of job folders; the methods are those of `Store`.

    Args:
        root: created with the first job folder.
    """

    in_place = True

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def url(self) -> str:
        """The folder."""
        return str(self.root)

    def local(self, place: str) -> Path:
        """Return the path of *place*, which need not exist; raise NotFound outside the folder."""
        path = self.root / place
        # A job's code may have made a link, and places come from workers, but others read here.
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise NotFound(f"{place} is not a place among the files of jobs")
        return path

    def fetch(self, file: StoredFile, into: Path) -> Path:
        """Return the path of the file; its reader checks the content."""
        path = self.local(file.place)
        if not path.is_file():
            raise NotFound(f"{path} is not on this host's disk")
        return path

    def pieces(self, place: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        path = self.local(place)
        try:
            with path.open("rb") as file:
                file.seek(start)
                while start < end and (piece := file.read(min(PIECE_BYTES, end - start))):
                    start += len(piece)
                    yield piece
        except FileNotFoundError as e:
            raise NotFound(f"{path} is not on this host's disk") from e

    def put(self, source: Path, file: StoredFile) -> None:
        """Do nothing for a file that the job wrote at its place."""
        if source.absolute() != self.local(file.place):
            raise ValueError(f"{source} was not written at its place {self.local(file.place)}")

    def places(self, folder: str) -> list[str]:
        """Return every file in *folder*."""
        found = (path for path in self.local(folder).rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.root)) for path in found)

    def is_empty(self) -> bool:
        """Say whether the folder is empty or missing."""
        return not self.root.exists() or not any(self.root.iterdir())

    def remove(self, places: list[str]) -> None:
        """Remove files."""
        for place in places:
            self.local(place).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder."""
        path = self.local(folder)
        if path.exists():
            shutil.rmtree(path)

    def check(self) -> None:
        """Raise ServiceUnavailable if something other than a folder is there."""
        if self.root.exists() and not self.root.is_dir():
            raise ServiceUnavailable(f"{self.root} is not a folder; name one with NORMLAB_STORAGE")
