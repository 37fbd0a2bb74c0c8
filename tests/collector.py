"""A collector of OpenTelemetry's on the loopback interface, which keeps the spans that it gets."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.answering import Answers, answering


@dataclass(frozen=True)
class Received:
    """A span as it came, with ids in hexadecimal digits."""

    part: str
    name: str
    trace: str
    id: str
    parent: str
    since_ns: int
    until_ns: int
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """What has come so far."""

    def __init__(self) -> None:
        self.url = ""
        self._spans: list[Received] = []
        self._lock = threading.Lock()

    @property
    def spans(self) -> list[Received]:
        with self._lock:
            return list(self._spans)

    def named(self, name: str) -> list[Received]:
        return sorted((s for s in self.spans if s.name == name), key=lambda s: s.since_ns)

    def take(self, body: bytes) -> None:
        read = [
            _read(span, _plain(of.resource.attributes)["service.name"])
            for of in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self._spans += read


def _read(span: Any, part: str) -> Received:
    return Received(
        part=part,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        since_ns=span.start_time_unix_nano,
        until_ns=span.end_time_unix_nano,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_plain(span.attributes),
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector while the context is open."""
    collector = Collector()

    class Handler(Answers):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            assert self.path == "/v1/traces"
            collector.take(gzip.decompress(body) if packed else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with answering(Handler) as port:
        collector.url = f"http://127.0.0.1:{port}"
        yield collector
