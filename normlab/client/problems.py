"""Convert an error response to an exception of our tree."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Type

from normlab.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidSpec,
    NormlabError,
    NotFound,
    QuotaExceeded,
    ReadTimedOut,
    ServiceUnavailable,
    Unauthorized,
)


def _family(root: Type[NormlabError]) -> Iterator[Type[NormlabError]]:
    yield root
    for child in root.__subclasses__():
        yield from _family(child)


def by_code(root: Type[NormlabError]) -> Dict[str, Type[NormlabError]]:
    """Return the error that each code means; a class without a code of its own is not meant."""
    return {kind.code: kind for kind in _family(root) if "code" in vars(kind)}


BY_CODE = by_code(NormlabError)
# for answers without one of our codes, from a proxy or a newer server
BY_STATUS: Dict[int, Type[NormlabError]] = {
    400: InvalidSpec,
    401: Unauthorized,
    403: Forbidden,
    202: ReadTimedOut,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    413: InvalidSpec,
    422: InvalidSpec,
    429: QuotaExceeded,
}


def from_problem(status: int, body: Any, text: str) -> NormlabError:
    """
    Return the error that a response describes.

    Args:
        status: the HTTP status.
        body: the decoded `application/problem+json`, or None.
        text: the message if the body has none, as that of a proxy.
    """
    problem: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    kind = BY_CODE.get(str(problem.get("code"))) or _by_status(status)
    message = str(problem.get("detail") or problem.get("title") or text)
    if issubclass(kind, InvalidSpec):
        return kind(message, _field_problems(problem.get("errors")))
    return kind(message)


def _by_status(status: int) -> Type[NormlabError]:
    if status >= 500:
        return ServiceUnavailable
    return BY_STATUS.get(status, NormlabError)


def _field_problems(errors: Any) -> List[FieldProblem]:
    if not isinstance(errors, list):
        return []
    return [
        FieldProblem(str(e.get("field", "")), str(e.get("rule", "")))
        for e in errors
        if isinstance(e, Mapping)
    ]
