"""Ids as people write them: the beginning or end of one, or a name, where it is the only such."""

from __future__ import annotations

import re
from itertools import islice
from typing import Callable, Dict, Iterator, List, Optional, Set, Tuple
from uuid import UUID

from normlab.client.pages import all_items
from normlab.client.transport import Transport
from normlab.errors import InvalidSpec, NotFound

SHORTEST = 4  # fewer characters fit too many
_PART = re.compile(rf"[0-9a-f-]{{{SHORTEST},36}}")
_WORD = re.compile(r"[A-Za-z0-9_-]+")  # what may stand in an address as it is
_NAMED = 5  # candidates in a refusal
Candidates = Callable[[str], Iterator[str]]


class References:
    """
    Completes what stands for the id of one kind of thing, and remembers it.

    Args:
        kind: "job" or "study", for messages.
        candidates: yields ids that have a text in them, and perhaps others.
        named: yields the ids of what has this very name; None: it goes by no name.
    """

    def __init__(
        self, kind: str, candidates: Candidates, named: Optional[Candidates] = None
    ) -> None:
        self._kind = kind
        self._candidates = candidates
        self._named = named
        self._known: Dict[str, str] = {}

    def full(self, text: str) -> str:
        """
        Return the id that *text* begins or ends, or whose name it is.

        Ids of one week share their first characters and differ in their last ones. A word that fits
        none goes to the server as it is.

        Raises:
            InvalidSpec: several begin or end so, or have this name; the message has some of them.
            NotFound: nothing fits, and *text* could be no id.
        """
        if _is_whole(text.strip()):
            return text.strip()
        if text not in self._known:
            fitting = list(islice(_once(self._fitting(text)), _NAMED + 1))
            if len(fitting) > 1:
                raise self._ambiguous(text, fitting)
            if not fitting:
                return self._unknown(text)
            self._known[text] = fitting[0]
        return self._known[text]

    def _fitting(self, text: str) -> Iterator[str]:
        part = text.strip().lower()
        if _PART.fullmatch(part):
            for one in self._candidates(part):
                if one.startswith(part) or one.endswith(part):
                    yield one
        if self._named is not None:
            yield from self._named(text)

    def _ambiguous(self, text: str, fitting: List[str]) -> InvalidSpec:
        more = " and more" if len(fitting) > _NAMED else ""
        return InvalidSpec(
            f"{self._kind} {text!r} may be {', '.join(fitting[:_NAMED])}{more}; "
            "write more of the id, best of its end"
        )

    def _unknown(self, text: str) -> str:
        if _WORD.fullmatch(text):
            return text
        name = "" if self._named is None else ", and none of yours has that name"
        raise NotFound(f"no {self._kind} {text!r}: it begins or ends no id{name}")


def _once(ids: Iterator[str]) -> Iterator[str]:
    seen: Set[str] = set()
    for one in ids:
        if one not in seen:
            seen.add(one)
            yield one


def _is_whole(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def jobs(transport: Transport) -> References:
    """Complete the ids of jobs; the server looks through them."""

    def candidates(part: str) -> Iterator[str]:
        return _ids(transport, "jobs", {"filter": f'id ~ "{part}"'})

    return References("job", candidates)


def studies(transport: Transport) -> References:
    """Complete the ids of studies, which are few; the caller's own also go by their names."""

    def candidates(part: str) -> Iterator[str]:
        return _ids(transport, "studies", {})

    def named(name: str) -> Iterator[str]:
        return _ids(transport, "studies", {"name": name, "mine": "true"})

    return References("study", candidates, named)


def _ids(transport: Transport, what: str, filters: Dict[str, str]) -> Iterator[str]:
    def ask(cursor: Optional[str], size: int) -> Tuple[List[str], Optional[str]]:
        params = {**filters, "cursor": cursor, "limit": size}
        page = transport.send("GET", f"/{what}", params=params).json()
        return [one["id"] for one in page[what]], page["next_cursor"]

    return all_items(ask)
