"""Read the JSON of requests strictly and within limits; write the JSON of whole answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs import registries
from normlab.specs.dataset_contents import contents_of
from normlab.specs.job_fields import MOST_PLUGINS
from normlab.specs.json_values import MAX_DEPTH, json_problem
from normlab.specs.starting_weights import InitFrom

_AT_ONCE_BYTES = 16 * 1024

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="any text of your own; the same key and body always mean the same thing",
    ),
]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """A route whose body is read by `decode`."""

    def get_route_handler(self) -> Handler:
        """Return the handler of a request."""
        answer = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            try:
                return await answer(_Request(request.scope, request.receive))
            except HTTPException as e:
                # The framework wraps errors that occur while it reads a body in this way
                raise e.__cause__ if isinstance(e.__cause__, InvalidSpec) else e from e.__cause__

        return strictly


class _Request(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= _AT_ONCE_BYTES:
            found = decode(body)
        else:
            found = await run_in_threadpool(decode, body)  # others can be served
        if _outside_of(found):
            # Read the database and the disk here. Validation holds up all requests, so it must
            # find the answers ready.
            await run_in_threadpool(_look_up, found)
        return found


def _look_up(body: Any) -> None:
    for digest in _code_in(body):
        registries.find(digest)
    if _names_file(body):
        with contextlib.suppress(ValueError, OSError):  # validation reports what is wrong
            contents_of(_base(body)["dataset"]["file"])
    if _base(body).get("init_from") is not None:
        with contextlib.suppress(ValueError):
            InitFrom.model_validate(_base(body)["init_from"])


def _outside_of(body: Any) -> bool:
    named = _names_file(body) or bool(_code_in(body))
    return named or _base(body).get("init_from") is not None


def _base(body: Any) -> dict[str, Any]:
    base = body.get("base", body) if isinstance(body, dict) else None
    return base if isinstance(base, dict) else {}


def _names_file(body: Any) -> bool:
    dataset = _base(body).get("dataset")
    return isinstance(dataset, dict) and isinstance(dataset.get("file"), str)


def _code_in(body: Any) -> list[str]:
    """List the plugins that a job or a study names."""
    code = _base(body).get("code")
    return [d for d in code[:MOST_PLUGINS] if isinstance(d, str)] if isinstance(code, list) else []


def decode(body: bytes) -> Any:
    """
    Read the JSON of *body*, which may contain only values that can be stored and sent back.

    Raises:
        InvalidSpec: *body* is nested deeper than MAX_DEPTH, gives a field twice, or has a number
            that is not finite or exceeds 64 bits, or a text that is not Unicode. The problem names
            the field.
        json.JSONDecodeError: *body* is not JSON.
    """
    try:
        value = json.loads(body, object_pairs_hook=_once)
    except RecursionError as e:
        rule = f"nested more than {MAX_DEPTH} levels deep; make it flatter"
        raise InvalidSpec.of([FieldProblem("body", rule)]) from e
    except UnicodeDecodeError as e:
        rule = "not text in UTF-8; send one JSON object"
        raise InvalidSpec.of([FieldProblem("body", rule)]) from e
    except (InvalidSpec, json.JSONDecodeError):  # these are ValueErrors too
        raise
    except ValueError as e:  # Python does not parse integers with more than 4300 digits
        rule = "an integer outside 64 bits; use a smaller one"
        raise InvalidSpec.of([FieldProblem("body", rule)]) from e
    problem = json_problem(value)
    if problem is not None:
        raise InvalidSpec.of([problem])
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        rule = "is given twice; give each field once"
        raise InvalidSpec.of([FieldProblem(twice[:100], rule)])
    return found


def answer(content: bytes | str, status: int = 200, location: str | None = None) -> Response:
    """Send JSON of the `response_model`; the framework would check it again, in a thread."""
    headers = None if location is None else {"Location": location}
    return Response(content, status, headers, media_type="application/json")
