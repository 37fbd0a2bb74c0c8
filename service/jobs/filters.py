"""The filter language of lists: `normalizer = online and batch_size <= 4 and val/accuracy > 0.9`.

filter     = comparison | not filter | filter and filter | filter or filter | ( filter )
comparison = field op value | field in ( value, ... )
op         = | != | < | <= | > | >= | ~ (contains, whatever the case)
field      = a job's field, a dotted path into its spec, or a metric (its last value)
value      = number | "text" | word
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from normlab.errors import FieldProblem, InvalidSpec

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~", "in"]
Value = str | int | float | bool

MAX_LENGTH = 2000
_INTEGER_DIGITS = 19  # those of 64 bits

_GRAMMAR = r"""
?start: either
?either: both ("or"i both)*
?both: term ("and"i term)*
?term: "not"i term -> negation
     | "(" either ")"
     | FIELD OPERATOR value -> comparison
     | FIELD "in"i "(" value ("," value)* ")" -> membership
value: NUMBER -> number | QUOTED -> quoted | WORD -> word

OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">" | "~"
FIELD.2: /(?!(and|or|not|in)\b)[A-Za-z_][A-Za-z0-9_.\/-]*(?=\s*([=<>!~]|in\b))/i
NUMBER.2: /[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(?![A-Za-z0-9_.\/-])/
QUOTED: /"[^"]*"|'[^']*'/
WORD: /(?!(and|or|not|in)\b)[A-Za-z0-9_][A-Za-z0-9_.:\/+-]*/i
%ignore /\s+/
"""

_EXPECTED = {
    "FIELD": "a field",
    "OPERATOR": "one of = != < <= > >= ~",
    "NUMBER": "a number",
    "QUOTED": "a quoted text",
    "WORD": "a word",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}


@dataclass(frozen=True)
class FieldComparison:
    """The comparison of a field with a value, or with several values for `in`."""

    field: str
    op: Operator
    value: Value | tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """The negation of a filter."""

    of: Filter


@dataclass(frozen=True)
class All:
    """All parts are true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Either:
    """At least one part is true."""

    parts: tuple[Filter, ...]


Filter = FieldComparison | Not | All | Either


def parse(text: str) -> Filter:
    """
    Parse a filter.

    Raises:
        InvalidSpec: *text* is not a filter; the message gives the position and
            what was expected there.
    """
    if len(text) > MAX_LENGTH:
        raise _refused(f"{len(text)} characters are too many; use at most {MAX_LENGTH}")
    try:
        return cast("Filter", _parser().parse(text))
    except UnexpectedInput as e:
        raise _refused(_explanation(e, text)) from e


@cache
def _parser() -> Lark:
    # Transformed during parsing, so that deep nesting causes no deep recursion
    return Lark(
        _GRAMMAR,
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=False,
        transformer=_FilterReader(),
    )


class _FilterReader(Transformer[Token, Any]):
    def number(self, items: list[Token]) -> Value:
        text = str(items[0])
        whole = text.lstrip("+-").isdigit() and len(text) < _INTEGER_DIGITS
        return int(text) if whole else float(text)

    def quoted(self, items: list[Token]) -> Value:
        return str(items[0])[1:-1]

    def word(self, items: list[Token]) -> Value:
        text = str(items[0])
        return {"true": True, "false": False}.get(text.lower(), text)

    def comparison(self, items: list[Any]) -> Filter:
        field, op, value = items
        return FieldComparison(str(field), str(op), value)  # type: ignore[arg-type]

    def membership(self, items: list[Any]) -> Filter:
        return FieldComparison(str(items[0]), "in", tuple(items[1:]))

    def negation(self, items: list[Filter]) -> Filter:
        return Not(items[0])

    def both(self, items: list[Filter]) -> Filter:
        return All(tuple(items))

    def either(self, items: list[Filter]) -> Filter:
        return Either(tuple(items))


def _refused(why: str) -> InvalidSpec:
    return InvalidSpec(f"filter: {why}", [FieldProblem("filter", why)])


def _explanation(error: UnexpectedInput, text: str) -> str:
    names: set[str] = set()
    if isinstance(error, UnexpectedCharacters):
        names = set(error.allowed or ())
    elif isinstance(error, UnexpectedToken | UnexpectedEOF):
        names = set(error.expected)
    expected = sorted({_EXPECTED.get(n, n.lower()) for n in names})
    ended = isinstance(error, UnexpectedEOF)
    ended = ended or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
    column = len(text) + 1 if ended else (error.pos_in_stream or 0) + 1
    found = "the end" if column > len(text) else repr(text[column - 1 : column + 19])
    return f"position {column}: found {found}, expected {' or '.join(expected)}"
