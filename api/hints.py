"""The hint next to a field of a form: its meaning, range and default, and what empty means."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from normlab.plain_text import shown
from normlab.specs.options import OptionRecord

_EMPTY = re.compile(r"^null(: ?| )(?P<words>.+)$")
_CODE = re.compile(r"`([^`]+)`|\*(\w+)\*")
_TICKED = re.compile(r"`([^`]+)`")


def hint(option: OptionRecord) -> Markup:
    """Say what *option* means, with its range and default; names are in `code` elements."""
    parts = [part for part in _parts(option) if not _EMPTY.match(part)]
    empty = when_empty(option)
    if option.nullable and not empty:
        parts.append("may be left empty")
    facts = [option.limits() if option.type != "choice" else "", _default(option)]
    known = "; ".join(fact for fact in facts if fact)
    text = "; ".join(parts) + (f" ({known})" if known else "")
    told = [text] if text else []
    return _marked(". ".join([*told, f"Empty: {empty}"] if empty else told), _CODE)


def marked(message: str) -> Markup:
    """Return *message*; text in backticks becomes `code` elements."""
    return _marked(shown(message), _TICKED)


def when_empty(option: OptionRecord) -> str:
    """Return what an empty field means, from the description's words about null; or nothing."""
    for part in _parts(option):
        found = _EMPTY.match(part)
        if found is not None:
            return _CODE.sub(lambda m: m[1] or m[2], found["words"])
    return ""


def meaning(option: OptionRecord) -> str:
    """Return what *option* means, with "none" in place of null."""
    return "; ".join(re.sub(r"^null\b", "none", part) for part in _parts(option))


def _parts(option: OptionRecord) -> list[str]:
    return [part for part in option.description.split("; ") if part]


def _default(option: OptionRecord) -> str:
    if option.default is None or option.required or option.default == []:
        return ""
    if isinstance(option.default, bool):
        return f"default {'on' if option.default else 'off'}"
    if isinstance(option.default, list):
        return f"default {', '.join(map(str, option.default))}"
    shown = f"{option.default:g}" if isinstance(option.default, float) else option.default
    return f"default {shown}"


def _marked(text: str, code: re.Pattern[str]) -> Markup:
    found = Markup("")
    end = 0
    for match in code.finditer(text):
        found += escape(text[end : match.start()])
        found += Markup("<code>{}</code>").format(next(filter(None, match.groups())))
        end = match.end()
    return found + escape(text[end:])
