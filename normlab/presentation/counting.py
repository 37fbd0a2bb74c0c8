"""Numbers of things, as people say them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many there are of a thing: `1 job`, `2 jobs`, `3 studies`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
