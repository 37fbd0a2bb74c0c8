"""Pages of a list: a cursor that names the last row shown, and cannot be made up by accident."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from normlab.errors import FieldProblem, InvalidSpec


def encode_cursor(order: str, position: Sequence[Any]) -> str:
    """Name the place after the row at *position* in a list sorted by *order*."""
    return base64.urlsafe_b64encode(orjson.dumps([order, *position])).decode().rstrip("=")


def decode_cursor(cursor: str, order: str, types: Sequence[type | tuple[type, ...]]) -> list[Any]:
    """
    Read a cursor that encode_cursor made for the same *order*.

    Raises:
        InvalidSpec: if it is not one, or belongs to a list in another order.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as e:
        raise _refusal(cursor, "it was not made by this service") from e
    if not isinstance(content, list) or len(content) != len(types) + 1:
        raise _refusal(cursor, "it was not made by this list")
    if content[0] != order:
        raise _refusal(cursor, f"it belongs to a list with sort={content[0]}, not {order}")
    values = content[1:]
    if not all(isinstance(v, t) for v, t in zip(values, types, strict=True)):
        raise _refusal(cursor, "it was not made by this list")
    return values


def _refusal(cursor: str, reason: str) -> InvalidSpec:
    rule = "pass the next_cursor of the page before, with the same sort, or leave it out"
    message = f"cursor {cursor[:40]!r} cannot be used: {reason}; {rule}"
    return InvalidSpec(message, [FieldProblem("cursor", rule)])
