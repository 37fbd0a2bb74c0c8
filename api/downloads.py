"""Send stored files: a file of this host, or an object of a bucket, whole or in part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

import anyio
from fastapi import Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from normlab.errors import NotFound
from service.storage.store import Store, StoredFile

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*")
_TYPE = "application/octet-stream"


class Download(FileResponse):
    """Send a file; when the reader disconnects, stop reading it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the reader disconnects."""
        async with anyio.create_task_group() as both:

            async def notice_leave() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                both.cancel_scope.cancel()

            both.start_soon(notice_leave)
            await super().__call__(scope, receive, send)
            both.cancel_scope.cancel()


def download(store: Store, file: StoredFile, name: str, job: str, request: Request) -> Response:
    """
    Return the response with *file*, or with the part that *request* asks for.

    Args:
        name: the name under which the reader saves it.

    Raises:
        NotFound: it is recorded, but no longer stored.
        ServiceUnavailable: the store does not answer.
    """
    path = store.local(file.place)
    if path is None:
        return _from_bucket(store, file, name, request)
    if not path.is_file():
        raise NotFound(f"file {name!r} of job {job} is gone from the server's disk")
    return Download(path, filename=name, media_type=_TYPE)


def _from_bucket(store: Store, file: StoredFile, name: str, request: Request) -> Response:
    # A stored file never changes and its checksum is known, so this is a strong tag.
    tag = f'"{file.sha256}"'
    headers = {"Accept-Ranges": "bytes", "ETag": tag}
    asked = None
    if request.headers.get("If-Range", tag) == tag:
        asked = asked_part(request.headers.get("Range"), file.bytes)
    start, end = (0, file.bytes) if asked is None else asked
    if start >= end and asked is not None:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{file.bytes}"})
    headers["Content-Length"] = str(end - start)
    headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(name)}"
    if asked is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.bytes}"
    status = 200 if asked is None else 206
    pieces = _begun(store.pieces(file.place, start, end))
    return StreamingResponse(pieces, status, headers, _TYPE)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first piece now, while the status can still report a failure."""
    first = next(pieces, None)
    return pieces if first is None else chain([first], pieces)


def asked_part(header: str | None, size: int) -> tuple[int, int] | None:
    """
    Return the start and end of the part that a `Range` asks for; None for the whole file.

    If it asks for several parts or cannot be parsed, the answer is the whole file, as RFC 9110
    allows.
    The part is empty if the file has no such bytes.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return start, end
