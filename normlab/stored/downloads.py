"""Download a file: resume it after a broken connection, check it, and show only whole files."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Callable, Dict, Optional

import httpx

from normlab.errors import DatasetUnusable, ServiceUnavailable, StorageFull
from normlab.host.disks import is_full
from normlab.stacks.proxies import why_silent

DownloadProgress = Callable[[int, Optional[int]], None]
"""A function that is called with the number of bytes downloaded, and of all bytes if known."""

_TRIES = 5  # tries without a single new byte
_PATIENCE_S = 30.0
_PARTIAL = 206
_PAST_THE_END = 416
_WHY = {
    401: "gives this file only to those who log in",
    403: "does not give this file to everybody",
    404: "has no such file",
    410: "no longer has this file",
    429: "gets too many requests; wait a little",
}
_FAILED = 500
_KINDS = {32: "MD5", 64: "SHA-256"}  # kinds of checksums, by the number of their digits


def download(
    url: str,
    path: Path,
    checksum: str,
    progress: DownloadProgress = lambda here, whole: None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """
    Download the file at *url* to *path*, which appears when it is complete and correct.

    Its beginning stays in PATH.part, and the next call continues from there.

    Args:
        checksum: the file's MD5 in 32 hex digits, or its SHA-256 in 64.
        wait: seconds before a new try after a broken connection.

    Raises:
        ServiceUnavailable: the server does not answer, or not with the file.
        StorageFull: no space is left; what was written stays.
        DatasetUnusable: the file has another checksum; it was removed.
    """
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    tries = 0
    with httpx.Client(follow_redirects=True, timeout=_PATIENCE_S) as client:
        while True:
            before = _size(part)
            try:
                _go_on(client, url, part, progress)
                break
            except OSError as e:
                if not is_full(e):
                    raise
                raise StorageFull(
                    f"no space for {part} ({e.strerror}); free some, then fetch again"
                ) from e
            except httpx.TransportError as e:
                tries = tries + 1 if _size(part) == before else 1
                if tries >= _TRIES:
                    raise ServiceUnavailable(
                        f"{url}: {why_silent(e)}; {_size(part)} bytes are kept in {part}; fetch "
                        "again"
                    ) from e
                wait(2.0 ** (tries - 1))
    _accept(url, part, path, checksum)


def _go_on(client: httpx.Client, url: str, part: Path, progress: DownloadProgress) -> None:
    here = _size(part)
    # no compression in transit, because offsets count the file's own bytes
    headers: Dict[str, str] = {"Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == _PAST_THE_END and here:
            return  # the whole file is here already
        if answer.status_code not in (200, _PARTIAL):
            raise ServiceUnavailable(f"{url}: {_why_not(answer)}; name another with --mirror")
        resumes = answer.status_code == _PARTIAL
        here = here if resumes else 0
        length = answer.headers.get("Content-Length")
        whole = None if length is None else here + int(length)
        with part.open("ab" if resumes else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                here += len(chunk)
                progress(here, whole)


def _why_not(answer: httpx.Response) -> str:
    if answer.status_code >= _FAILED:
        return "the server fails at the moment"
    said = f"does not give this file (status {answer.status_code})"
    return f"the server {_WHY.get(answer.status_code, said)}"


def _accept(url: str, part: Path, path: Path, checksum: str) -> None:
    kind = _KINDS[len(checksum)]
    found = checksum_of(part, kind)
    if found != checksum:
        size = _size(part)
        part.unlink()
        raise DatasetUnusable(
            f"{url}: {kind} {found} of {size} bytes, but {checksum} was published; the file was "
            "removed; fetch it again, or from another --mirror"
        )
    part.replace(path)


def is_whole(path: Path, checksum: str) -> bool:
    """Return whether the file at *path* exists and has this *checksum*."""
    return path.exists() and checksum_of(path, _KINDS[len(checksum)]) == checksum


def checksum_of(path: Path, kind: str = "MD5") -> str:
    """Hash the file at *path*, in hex digits."""
    whole = hashlib.new(kind.replace("-", ""))
    with path.open("rb") as file:
        while True:
            chunk = file.read(1 << 20)
            if not chunk:
                return whole.hexdigest()
            whole.update(chunk)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
