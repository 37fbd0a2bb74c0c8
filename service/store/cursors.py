"""Pages of a list: a cursor names the last row of a page, with values of the row's types."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from normlab.errors import FieldProblem, InvalidSpec


def encode_cursor(order: str, position: Sequence[Any]) -> str:
    """Encode the place after the row at *position* in a list sorted by *order*."""
    return base64.urlsafe_b64encode(orjson.dumps([order, *position])).decode().rstrip("=")


def decode_cursor(cursor: str, order: str, types: Sequence[Any]) -> list[Any]:
    """
    Read a cursor that encode_cursor made for the same *order*.

    Args:
        types: the types of its position's values; strict, so true is not a number.

    Raises:
        InvalidSpec: if it is not a cursor, or belongs to a list in another order.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as e:
        raise _refusal(cursor, "it was not made by this service") from e
    if not isinstance(content, list) or len(content) != len(types) + 1:
        raise _refusal(cursor, "it was not made by this list")
    if content[0] != order:
        other = str(content[0])[:40]
        raise _refusal(cursor, f"it belongs to a list with sort={other!a}, not {order}")
    try:
        return [_read(kind, value) for kind, value in zip(types, content[1:], strict=True)]
    except ValidationError as e:
        raise _refusal(cursor, "it was not made by this list") from e


def _read(kind: Any, value: Any) -> Any:
    return _adapter(kind).validate_json(orjson.dumps(value), strict=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _refusal(cursor: str, reason: str) -> InvalidSpec:
    rule = "pass the next_cursor of the previous page, with the same sort, or leave it out"
    message = f"cursor {cursor[:40]!a} cannot be used: {reason}; {rule}"
    return InvalidSpec(message, [FieldProblem("cursor", rule)])
