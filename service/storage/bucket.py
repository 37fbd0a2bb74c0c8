"""The files of jobs in a bucket: of S3 or a server with its API, Google's or Azure's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from normlab.errors import InvalidSpec, NotFound, ServiceUnavailable
from service.storage.store import PIECE_BYTES, Damaged, StoredFile

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_PARTS_AT_ONCE = 4  # parts of one upload at once: 32 MiB of memory
# Plain HTTP happens only if the operator's endpoint says so.
_CLIENT: ClientConfig = {
    "allow_http": True,
    "connect_timeout": "5s",
    "read_timeout": "60s",
    "timeout": "300s",
}
# Callers retry for longer, and do other work in between.
_RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}


class BucketStore:
    """
    A bucket, or its objects below a prefix; the methods are those of `Store`.

    The client finds credentials, region and endpoint in the same places as the provider's own
    tools: in `AWS_*` or `GOOGLE_*` variables, or from the machine's own role. A request that fails
    is sent again a few times before it counts as failed.

    Args:
        url: such as `s3://bucket/prefix`.

    Raises:
        InvalidSpec: *url* cannot be understood, or a variable of the provider is wrong.
    """

    in_place = False

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._bucket: ObjectStore = from_url(url, client_options=_CLIENT, retry_config=_RETRIES)
        except (BaseError, ValueError) as e:
            raise InvalidSpec(f"NORMLAB_STORAGE={url} cannot be used: {_reason(e)}") from e

    def local(self, place: str) -> None:
        """Return None: everything has to be fetched."""

    def fetch(self, file: StoredFile, into: Path) -> Path:
        """Copy the file to a place below *into*, continuing an earlier call, and check it."""
        target = into / file.place
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        begun = part.exists()
        while (found := self._continued(part, file)) != file.sha256:
            part.unlink()
            if not begun:
                raise NotFound(
                    f"{self._named(file.place)} is damaged: its SHA-256 is {found}, "
                    f"stored was {file.sha256}"
                )
            begun = False  # a host that crashed may have lost what it had written
        return part.replace(target)

    def _continued(self, part: Path, file: StoredFile) -> str:
        found = hashlib.sha256()
        with part.open("ab+") as out:
            out.seek(0)
            while there := out.read(PIECE_BYTES):
                found.update(there)
            for piece in self.pieces(file.place, out.tell(), file.bytes):
                found.update(piece)
                out.write(piece)
        return found.hexdigest()

    def pieces(self, place: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes in requests of their own, so that one that fails is sent again alone."""
        while start < end:
            stop = min(start + PIECE_BYTES, end)
            with self._reading(place):
                piece = bytes(obstore.get_range(self._bucket, place, start=start, end=stop))
            if len(piece) != stop - start:
                ends = start + len(piece)
                raise NotFound(f"{self._named(place)} is damaged: it ends after {ends} bytes")
            yield piece
            start = stop

    def put(self, source: Path, file: StoredFile) -> None:
        """Upload *source*; the object appears only if complete, and equal to what the job wrote."""
        with source.open("rb") as opened:
            content = _Hashed(opened)
            with self._answering(f"cannot store {file.place}"):
                if file.bytes <= PIECE_BYTES:
                    obstore.put(self._bucket, file.place, b"".join(content))
                else:
                    obstore.put(
                        self._bucket,
                        file.place,
                        iter(content),
                        chunk_size=PIECE_BYTES,
                        max_concurrency=_PARTS_AT_ONCE,
                    )
                size = obstore.head(self._bucket, file.place)["size"]
        if content.sha256.hexdigest() != file.sha256:
            self.remove([file.place])
            raise Damaged(f"{source} is not what the job wrote")
        if size != file.bytes:
            what = f"{self._named(file.place)} has {size} bytes instead of {file.bytes}"
            raise ServiceUnavailable(f"{what}; it is stored again")

    def places(self, folder: str) -> list[str]:
        """Return every object in *folder*."""
        with self._answering("cannot be listed"):
            chunks = obstore.list(self._bucket, folder.rstrip("/"))
            return sorted(found["path"] for chunk in chunks for found in chunk)

    def is_empty(self) -> bool:
        """Ask for the first name."""
        return not self._first()

    def remove(self, places: list[str]) -> None:
        """Remove objects."""
        if not places:
            return
        with self._answering("cannot remove objects"):
            try:
                obstore.delete(self._bucket, places)
            except FileNotFoundError:  # from some providers; the other objects may still be there
                if len(places) > 1:
                    for place in places:
                        self.remove([place])

    def remove_folder(self, folder: str) -> None:
        """Remove all objects in *folder*."""
        self.remove(self.places(folder))

    def check(self) -> None:
        """Ask for the first name in the bucket."""
        self._first()

    def _first(self) -> list[Any]:
        with self._answering("cannot be read"):
            return list(next(iter(obstore.list(self._bucket, chunk_size=1)), ()))

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as e:
            # NoSuchBucket is a FileNotFoundError too
            raise ServiceUnavailable(f"{self.url} {what}: {_reason(e)}") from e

    @contextmanager
    def _reading(self, place: str) -> Iterator[None]:
        try:
            with self._answering(f"cannot read {place}"):
                yield
        except ServiceUnavailable as e:
            if isinstance(e.__cause__, FileNotFoundError):
                self.check()  # the whole bucket may be gone
                raise NotFound(f"{self._named(place)} is not in the bucket") from e
            raise

    def _named(self, place: str) -> str:
        return f"{self.url.rstrip('/')}/{place}"


class _Hashed:
    """The pieces of *file*, with the hash of those that were read."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE_BYTES):
            self.sha256.update(piece)
            yield piece


def _reason(error: Exception) -> str:
    # the library appends the request and a dump of the error to its messages
    return " ".join(str(error).split("\n\nDebug source")[0].split())[:300]
