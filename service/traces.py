"""
Spans for OpenTelemetry, exported over OTLP where OTEL_EXPORTER_OTLP_ENDPOINT is set.

Every job has one trace. Its context is stored with the job, and the ids of its spans follow from
the job, so that processes that know nothing of each other write into the same trace. A span is
recorded when it is over, with its two moments. Without the variable, nothing of OpenTelemetry's
SDK is imported.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from normlab import __version__

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TIMEOUT = "OTEL_EXPORTER_OTLP_TIMEOUT"
# A process that stops waits for its last spans, and the collector may not answer.
_LEAVE_WITHIN_S = 3.0
_PARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Context:
    """A place in a trace, in the form of W3C's `traceparent`: 32 and 16 hexadecimal digits."""

    trace: str
    span: str

    @property
    def header(self) -> str:
        """The header `traceparent`, with which others record spans below this one."""
        return f"00-{self.trace}-{self.span}-01"

    @classmethod
    def read(cls, header: str | None) -> Context | None:
        """Read a `traceparent`; None if there is none or it means nothing."""
        found = _PARENT.fullmatch(header or "")
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return None
        return cls(found[1], found[2])


@dataclass(frozen=True)
class Span:
    """
    Work that has taken some time.

    Args:
        parent: the span within which it was; None: it is not within another one.
        since_s: when it began, in seconds since the epoch.
        problem: why it failed.
        serves: whether it answered a request.
    """

    name: str
    context: Context
    parent: str | None
    since_s: float
    until_s: float
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    problem: str | None = None
    serves: bool = False


def trace_of(job: UUID, submitted: str | None) -> tuple[str, str | None]:
    """Return the trace of *job* and the span of its submission, which *submitted* may name."""
    given = Context.read(submitted)
    return (job.hex, None) if given is None else (given.trace, given.span)


def span_id(*names: object) -> str:
    """Return the id of the span that *names* describe."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:16]


class Traces:
    """Exports spans of one *part* of the service, in the background."""

    def __init__(self, part: str, environment: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._next = _NextIds()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": part, "service.version": __version__}),
            id_generator=_id_generator(self._next),
            shutdown_on_exit=False,
        )
        timeout_s = None if _TIMEOUT in environment else _LEAVE_WITHIN_S
        exporter = OTLPSpanExporter(timeout=timeout_s)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("normlab", __version__)

    def record(self, span: Span) -> None:
        """Export *span* soon."""
        from opentelemetry import trace

        context = trace.set_span_in_context(trace.INVALID_SPAN)
        if span.parent is not None:
            above = trace.SpanContext(
                int(span.context.trace, 16),
                int(span.parent, 16),
                is_remote=True,
                trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(above))
        self._next.ids = span.context
        made = self._tracer.start_span(
            span.name,
            context=context,
            kind=trace.SpanKind.SERVER if span.serves else trace.SpanKind.INTERNAL,
            attributes=dict(span.attributes),
            start_time=_ns(span.since_s),
        )
        if span.problem is not None:
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.problem))
        made.end(end_time=_ns(max(span.since_s, span.until_s)))

    def close(self) -> None:
        """Export the remaining spans, with a time limit in case the collector does not answer."""
        self._provider.shutdown()


class _NextIds(threading.local):
    ids = Context("", "")


def _id_generator(following: _NextIds) -> Any:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class Given(IdGenerator):
        """The ids of the span that this thread records."""

        def generate_span_id(self) -> int:
            return int(following.ids.span, 16)

        def generate_trace_id(self) -> int:
            return int(following.ids.trace, 16)

    return Given()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def exported(part: str, environment: Mapping[str, str]) -> Traces | None:
    """Return where *part* records its spans; None if *environment* names no collector."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not any(environment.get(name) for name in _ENDPOINTS):
        return None
    with suppress(ImportError):
        return Traces(part, environment)
    # the variable may be meant for other programs, and a missing package must not stop a training
    _log.warning("no_traces", reason="OpenTelemetry is missing: pip install 'normlab[tracing]'")
    return None
