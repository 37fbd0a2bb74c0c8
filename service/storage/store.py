"""
The operations of every store for the files of jobs.

A file's *place* is its name there, such as `JOB/attempt-2/checkpoints/step-000000040.pt`. Each
attempt has its own places, so an attempt that lost its job cannot damage a file of a later one, and
the file at a place never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

PIECE_BYTES = 8 << 20
"""The bytes of one read over the network: they need little memory and little time to repeat."""


class Damaged(Exception):
    """A file is not what its job wrote."""


class StoredFile(NamedTuple):
    """A file that a job has stored."""

    place: str
    sha256: str
    bytes: int


class Store(Protocol):
    """A place for the files of jobs; safe to share among threads."""

    @property
    def url(self) -> str:
        """The place of the store itself."""

    @property
    def in_place(self) -> bool:
        """Whether jobs write their files directly to their final places."""

    def local(self, place: str) -> Path | None:
        """
        Return the path of *place* on this host, which need not exist; None: it must be fetched.

        Raises:
            NotFound: it is not a place in this store.
        """

    def fetch(self, file: StoredFile, into: Path) -> Path:
        """
        Return a file of this host with the content of *file*; below *into* if it was copied.

        Raises:
            NotFound: it is not there, or is not what was stored.
            ServiceUnavailable: the store does not answer.
        """

    def pieces(self, place: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from *start* to before *end*; raise as `fetch` does."""

    def put(self, source: Path, file: StoredFile) -> None:
        """
        Store *source* as *file*, completely or not at all.

        Raises:
            FileNotFoundError: *source* is not there.
            Damaged: it is not what the job wrote; nothing is stored.
            ServiceUnavailable: the store does not answer; try again.
        """

    def places(self, folder: str) -> list[str]:
        """Return every place in *folder*, at any depth."""

    def is_empty(self) -> bool:
        """Say whether nothing is stored."""

    def remove(self, places: list[str]) -> None:
        """Remove what is at *places*; missing objects are no error."""

    def remove_folder(self, folder: str) -> None:
        """Remove all that is in *folder*."""

    def check(self) -> None:
        """Raise ServiceUnavailable if files cannot be read here now."""
