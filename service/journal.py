"""
The service's own log: one JSON object per line on standard error.

A traceback shows locations but no values, because a frame's variables may hold secrets.
A logged message may also contain a secret (a URL in a library's error), so the finished line
is searched for secrets again.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
_SECRETS = (
    re.compile(r"(?P<kept>\bbearer\s+)[^\s\"',\\]+", re.IGNORECASE),
    re.compile(r"(?P<kept>\bnormlab_(?:token|session)=)[^\s\"',;\\]+"),
    re.compile(r"(?P<kept>://[^\s\"'/@:]*:)[^\s\"'/@]+(?=@)"),  # a password in a URL
)


def configure(level: str = "info", secrets: Sequence[str] = ()) -> None:
    """
    Send our log and the logs of libraries to standard error as JSON, from *level* on.

    Args:
        secrets: texts to hide in every line, besides passwords in URLs and bearer tokens.
    """
    tracebacks = ExceptionDictTransformer(show_locals=False, use_rich=False)
    shared: list[Processor] = [
        *_shared(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(tracebacks),
    ]
    _configure(level, shared, structlog.processors.JSONRenderer(), secrets)


def configure_for_people(level: str = "info") -> None:
    """Send the log to standard error as lines of text, for those who run a stack in a terminal."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Alembic logs each plugin that it loads
    plain = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    _configure(level, _shared(), plain, ())


def without_secrets(line: str, secrets: Sequence[str] = ()) -> str:
    """Return *line* with each secret replaced by HIDDEN."""
    for secret in filter(None, secrets):
        line = line.replace(secret, HIDDEN)
    for pattern in _SECRETS:
        line = pattern.sub(rf"\g<kept>{HIDDEN}", line)
    return line


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]


def _configure(
    level: str, shared: Sequence[Processor], renderer: Processor, secrets: Sequence[str]
) -> None:
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return without_secrets(str(renderer(logger, name, event)), secrets)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
