"""Lists that the server sends page by page, as one iteration."""

from __future__ import annotations

from typing import Callable, Iterator, Optional, Sequence, Tuple, TypeVar

Item = TypeVar("Item")
Ask = Callable[[Optional[str], int], Tuple[Sequence[Item], Optional[str]]]


def all_items(ask: Ask[Item], limit: Optional[int] = None, at_once: int = 100) -> Iterator[Item]:
    """
    Yield the items of a list, asking for page after page.

    Args:
        ask: returns the items that follow a cursor, at most so many, and the next cursor.
        limit: the largest number of items; None for all.
        at_once: the number of items on one page.
    """
    left, cursor = limit, None
    while left is None or left > 0:
        items, cursor = ask(cursor, at_once if left is None else min(left, at_once))
        yield from items
        left = None if left is None else left - len(items)
        if cursor is None:
            return
