"""A server of files that breaks connections, and small stand-ins for the public datasets."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from normlab.specs.datasets import DATASETS
from normlab.stored.addresses import Publication, PublishedFile
from tests.answering import Answers, answering


class Publisher:
    """
    Serves *files* by their paths.

    Args:
        breaks: how often a connection ends after half of what was asked for.
        ranges: whether it heeds the header Range.
    """

    def __init__(self, files: dict[str, bytes], breaks: int = 0, ranges: bool = True) -> None:
        self.files = files
        self.breaks = breaks
        self.ranges = ranges
        self.asked: list[str | None] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.files.get(handler.path)
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if content is None:
            handler.send_error(404)
            return
        begin = int(wanted[len("bytes=") : -1]) if wanted and self.ranges else 0
        if begin >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.end_headers()
        rest = content[begin:]
        if self.breaks:
            self.breaks -= 1
            rest = rest[: len(rest) // 2]
        handler.wfile.write(rest)
        handler.close_connection = True


@contextmanager
def serving(publisher: Publisher) -> Iterator[Publisher]:
    """Serve at `publisher.url` while the context is open."""

    class Handler(Answers):
        def do_GET(self) -> None:
            publisher.answer(self)

    with answering(Handler) as port:
        publisher.url = f"http://127.0.0.1:{port}"
        yield publisher


def archive(files: dict[str, bytes]) -> bytes:
    """Pack *files* by their names as a .tar.gz file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def cifar10() -> bytes:
    """Return an archive with the files of CIFAR-10, in which all pictures are black."""
    facts = DATASETS["cifar10"]
    return archive({name: bytes(size) for name, size in zip(facts.files, facts.file_bytes)})


def published(content: bytes, name: str, folder: str) -> Publication:
    """Return a publication of one file."""
    md5 = hashlib.md5(content).hexdigest()
    return Publication("http://nowhere.invalid/", (PublishedFile(name, md5),), folder, "")
