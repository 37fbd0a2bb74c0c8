"""Identifiers of jobs and studies: UUIDs of version 7, which sort by creation time."""

from __future__ import annotations

import secrets
import time
from uuid import UUID

from normlab.errors import NotFound


def new_id() -> UUID:
    """Make an identifier; later ones are greater, except within the same millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    bits = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    bits = bits & ~(0xF << 76) | 7 << 76  # version 7
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant of RFC 9562
    return UUID(int=bits)


def parse_id(text: str, kind: str = "job") -> UUID:
    """Parse an identifier; raise NotFound if *text* cannot be one."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(
            f"there is no {kind} {text!r}; the list of {_plural(kind)} has all"
        ) from None


def _plural(kind: str) -> str:
    return "studies" if kind == "study" else f"{kind}s"
