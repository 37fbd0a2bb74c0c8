"""Ids as people write them: the beginning or the end of one, where it is the only such."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, Callable, Dict, Iterator, List
from uuid import UUID

from normlab.client.transport import Transport
from normlab.errors import InvalidSpec

SHORTEST = 4  # fewer characters fit too many
_PART = re.compile(rf"[0-9a-f-]{{{SHORTEST},36}}")
_NAMED = 5  # candidates in a refusal
Candidates = Callable[[str], Iterator[str]]


class References:
    """
    Completes the ids of one kind of thing, and remembers them.

    Args:
        kind: "job" or "study", for messages.
        candidates: yields ids that have a text in them, and perhaps others.
    """

    def __init__(self, kind: str, candidates: Candidates) -> None:
        self._kind = kind
        self._candidates = candidates
        self._known: Dict[str, str] = {}

    def full(self, text: str) -> str:
        """
        Return the id that *text* begins or ends; what fits none goes to the server as it is.

        Ids of one week share their first characters and differ in their last ones.

        Raises:
            InvalidSpec: several ids begin or end so; the message has some of them.
        """
        part = text.strip().lower()
        if _is_whole(part) or not _PART.fullmatch(part):
            return text
        if part not in self._known:
            fitting = list(islice(self._fitting(part), _NAMED + 1))
            if len(fitting) > 1:
                raise self._ambiguous(text, fitting)
            if not fitting:
                return text
            self._known[part] = fitting[0]
        return self._known[part]

    def _fitting(self, part: str) -> Iterator[str]:
        return (one for one in self._candidates(part) if one.startswith(part) or one.endswith(part))

    def _ambiguous(self, text: str, fitting: List[str]) -> InvalidSpec:
        more = " and more" if len(fitting) > _NAMED else ""
        return InvalidSpec(
            f"{self._kind} {text!r} is short for {', '.join(fitting[:_NAMED])}{more}; "
            "write more of the id, best of its end"
        )


def _is_whole(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def jobs(transport: Transport) -> References:
    """Complete the ids of jobs; the server looks through them."""

    def candidates(part: str) -> Iterator[str]:
        params = {"filter": f'id ~ "{part}"'}
        return (job["id"] for job in _pages(transport, "jobs", params))

    return References("job", candidates)


def studies(transport: Transport) -> References:
    """Complete the ids of studies, which are few."""
    return References(
        "study", lambda part: (study["id"] for study in _pages(transport, "studies", {}))
    )


def _pages(transport: Transport, what: str, params: Dict[str, str]) -> Iterator[Dict[str, Any]]:
    cursor = None
    while True:
        page = transport.send("GET", f"/{what}", params={**params, "cursor": cursor}).json()
        yield from page[what]
        cursor = page["next_cursor"]
        if cursor is None:
            return
