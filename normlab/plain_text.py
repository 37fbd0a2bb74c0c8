"""Text without characters that hide or reorder others."""

from __future__ import annotations

import re
from typing import Match, Optional

# Ranges, not Unicode's categories: those differ between the Pythons that read the same name.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f"  # control characters
    "\xad\u061c\u180e\u200b\u200e\u200f"  # soft hyphen, marks of direction, zero width
    "\u2028-\u202e\u2060-\u206f"  # ends of lines, turns of direction, invisible operators
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # byte order mark, annotations, tags
    "\ud800-\udfff"  # halves of characters
)
_FIND = re.compile(f"[{_UNSEEN}]")
_IN_LINES = re.compile(f"(?![\n\t])[{_UNSEEN}]")


def unseen_in(text: str) -> Optional[str]:
    """Name the first invisible character of *text*, such as U+202E; None if there is none."""
    found = _FIND.search(text)
    return None if found is None else f"U+{ord(found.group()):04X}"


def visible(text: str) -> str:
    """Return *text*; raise ValueError, which names the first one, for invisible characters."""
    unseen = unseen_in(text)
    if unseen is not None:
        raise ValueError(f"{unseen} cannot be shown; use visible characters")
    return text


def shown(text: str) -> str:
    r"""Return *text* with invisible characters escaped as in JSON (`\u202e`); keep line breaks."""
    return _IN_LINES.sub(_escaped, text)


def _escaped(found: Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
