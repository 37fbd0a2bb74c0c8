"""Ids as people write them: a unique beginning or end of an id, or a unique name."""

from __future__ import annotations

import re
from itertools import islice
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple
from uuid import UUID

from normlab.client.paging import all_items
from normlab.client.transport import Transport
from normlab.errors import InvalidSpec, NotFound

SHORTEST = 4  # fewer characters match too many ids
_PART = re.compile(rf"[0-9a-f-]{{{SHORTEST},36}}")
_WORD = re.compile(r"[A-Za-z0-9_-]+")  # characters that need no escaping in a URL
_NAMED = 5  # candidates in an error message
Candidates = Callable[[str], Iterator[str]]


class Place(NamedTuple):
    """
    A place to search, such as the trash.

    Attributes:
        candidates: yields the ids that contain a text, and perhaps others.
        named: yields the ids of things with exactly this name; None if they have no names.
    """

    candidates: Candidates
    named: Optional[Candidates] = None


class References:
    """
    Completes references to one kind of thing to its ids, and caches them.

    Args:
        kind: "job" or "study", for messages.
        places: each is searched if nothing matches in the places before it.
    """

    def __init__(self, kind: str, *places: Place) -> None:
        self._kind = kind
        self._places = places
        self._known: Dict[str, str] = {}

    def full(self, text: str) -> str:
        """
        Return the id that begins or ends with *text*, or that of the thing with this name.

        Ids of one week share their first characters and differ in their last ones. A word that
        matches none is sent to the server unchanged.

        Raises:
            InvalidSpec: several ids match; the message lists some of them.
            NotFound: nothing matches, and *text* cannot be an id.
        """
        if _is_whole(text.strip()):
            return text.strip()
        if text not in self._known:
            found = (list(islice(_once(_in(p, text)), _NAMED + 1)) for p in self._places)
            fitting = next(filter(None, found), [])
            if len(fitting) > 1:
                raise self._ambiguous(text, fitting)
            if not fitting:
                return self._unknown(text)
            self._known[text] = fitting[0]
        return self._known[text]

    def _ambiguous(self, text: str, fitting: List[str]) -> InvalidSpec:
        more = " and more" if len(fitting) > _NAMED else ""
        return InvalidSpec(
            f"{self._kind} {text!r} may be {', '.join(fitting[:_NAMED])}{more}; "
            "write more of the id, preferably of its end"
        )

    def _unknown(self, text: str) -> str:
        if _WORD.fullmatch(text):
            return text
        named = any(place.named for place in self._places)
        name = ", and none of yours has this name" if named else ""
        raise NotFound(f"no {self._kind} {text!r}: no id begins or ends with it{name}")


def _in(place: Place, text: str) -> Iterator[str]:
    """Yield the ids in *place* that match *text*."""
    part = text.strip().lower()
    if _PART.fullmatch(part):
        for one in place.candidates(part):
            if one.startswith(part) or one.endswith(part):
                yield one
    if place.named is not None:
        yield from place.named(text)


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


def jobs(transport: Transport, *, trash: bool = False) -> References:
    """
    Complete the ids of jobs; the server searches for them.

    Args:
        trash: whether to search the trash first, and not last.
    """

    def place(trash: bool) -> Place:
        return Place(
            lambda part: _ids(transport, "jobs", {"filter": f'id ~ "{part}"', **_kept(trash)})
        )

    return References("job", place(trash), place(not trash))


def studies(transport: Transport, *, trash: bool = False) -> References:
    """
    Complete the ids of studies; the caller's own may be given by their names too.

    Args:
        trash: whether to search the trash first, and not last.
    """

    def place(trash: bool) -> Place:
        def named(name: str) -> Iterator[str]:
            return _ids(transport, "studies", {"name": name, "mine": "true", **_kept(trash)})

        return Place(lambda part: _ids(transport, "studies", _kept(trash)), named)

    return References("study", place(trash), place(not trash))


def _kept(trash: bool) -> Dict[str, str]:
    # a name may mean something archived
    return {"trash": "true"} if trash else {"archived": "show"}


def _ids(transport: Transport, what: str, filters: Dict[str, str]) -> Iterator[str]:
    def ask(cursor: Optional[str], size: int) -> Tuple[List[str], Optional[str]]:
        params = {**filters, "cursor": cursor, "limit": size}
        page = transport.send("GET", f"/{what}", params=params).json()
        return [one["id"] for one in page[what]], page["next_cursor"]

    return all_items(ask)
