"""All errors as RFC 9457 problem details: one table of statuses, and one format."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.proxies import inner_path
from normlab import errors
from normlab.errors import FieldProblem, InvalidSpec, NormlabError, told
from normlab.specs.problems import MOST, explain

MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[NormlabError], HTTPStatus] = {
    errors.NormlabError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidSpec: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ServiceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    # A requested job that cannot run as specified
    errors.JobError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DeviceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    422: "invalid_spec",
    503: "service_unavailable",
}
_RETRY_AFTER_S = "5"

PageMaker = Callable[[Request, int, str, str], Response]

log = structlog.get_logger(__name__)


class ProblemField(BaseModel):
    """A field that breaks a rule."""

    field: str = Field(examples=["batch_size"])
    rule: str = Field(examples=["must be greater than or equal to 1, not 0"])


class Problem(BaseModel):
    """A problem as in RFC 9457, with our stable `code`."""

    type: str = Field(examples=["urn:normlab:problem:invalid_spec"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str
    instance: str = Field(description="the requested path; empty if it is not known yet")
    code: str = Field(examples=["invalid_spec"])
    errors: list[ProblemField] = []


def status_of(error: type[NormlabError]) -> HTTPStatus:
    """Return the status of *error*: that of the nearest class in the table."""
    return next(STATUS[c] for c in error.__mro__ if c in STATUS)


def install(app: FastAPI, page: PageMaker | None = None) -> None:
    """Answer every error of *app* with a problem; a browser page request gets a *page* instead."""
    app.state.error_page = page
    app.add_exception_handler(NormlabError, answer)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    fields: tuple[FieldProblem, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """Build the response; ASCII only, because a request may contain invalid Unicode."""
    page = page_for(request, status, detail)
    if page is not None:
        return page
    body = Problem(
        type=f"urn:normlab:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        errors=[ProblemField(field=f.field, rule=f.rule) for f in fields],
    )
    content = json.dumps(body.model_dump()).encode()
    return Response(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def page_for(request: Request, status: int, detail: str) -> Response | None:
    """Make the page of an error for a person in a browser; None for a program or without pages."""
    page: PageMaker | None = getattr(request.app.state, "error_page", None)
    if page is None or not _is_for_a_person(request):
        return None
    return page(request, status, HTTPStatus(status).phrase, detail)


def _is_for_a_person(request: Request) -> bool:
    html = "text/html" in request.headers.get("accept", "")
    return html and not inner_path(request.scope).startswith("/v1/")


async def answer(request: Request, error: Exception) -> Response:
    """Answer *request* with one of our own errors, also before it reaches a route."""
    assert isinstance(error, NormlabError)
    status = status_of(type(error))
    fields = error.problems if isinstance(error, InvalidSpec) else ()
    headers = {"Retry-After": _RETRY_AFTER_S} if error.retryable else {}
    if isinstance(error, errors.TooManyRequests):
        headers["Retry-After"] = str(error.wait_s)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request refused", path=request.url.path, code=error.code, error=str(error))
    return problem(request, status, error.code, str(error), fields, headers)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    model = _body_model(request)
    found = error.errors()
    fields = tuple(f for e in found[:MOST] for f in _fields(e, error.body, model))
    detail = told(fields[:3])
    if len(found) > 3:
        detail += f"; and {len(found) - 3} more"
    return problem(request, 422, InvalidSpec.code, detail, fields)


def _body_model(request: Request) -> type[BaseModel] | None:
    body = getattr(request.scope.get("route"), "body_field", None)
    model = getattr(getattr(body, "field_info", None), "annotation", None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _fields(error: dict[str, Any], body: Any, model: type[BaseModel] | None) -> list[FieldProblem]:
    where, *loc = error["loc"]
    if error["type"] == "json_invalid":
        rule = f"not JSON: {error['ctx']['error']} at character {loc[0]}; send one JSON object"
        return [FieldProblem("body", rule)]
    if where == "body":
        if not loc and isinstance(error.get("input"), bytes):
            return [FieldProblem("body", "send it with the header Content-Type: application/json")]
        return explain([{**error, "loc": loc}], body, model)
    # name a repeated parameter without the position of its value
    return explain([{**error, "loc": [part for part in loc if isinstance(part, str)]}], {})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    status, detail = error.status_code, str(error.detail)
    if status == 404:
        detail = f"there is nothing at {request.url.path}; /openapi.json lists all paths"
    if status == 405:
        detail = (
            f"{request.method} is not allowed at {request.url.path}; use {headers.get('Allow')}"
        )
    if status == 400:  # the framework could not decode the body
        rule = "neither JSON nor text in UTF-8; send one JSON object"
        return problem(request, 422, InvalidSpec.code, rule, (FieldProblem("body", rule),))
    return problem(request, status, _CODES.get(status, "error"), detail, headers=headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs the traceback; the answer reveals no internals
    identity = str(request.scope.get("normlab.request"))
    log.error("request failed", path=request.url.path, method=request.method, request=identity)
    detail = f"an unexpected error; the server's log has the cause under request {identity}"
    headers = {"Connection": "close", "X-Request-Id": identity}
    return problem(request, 500, "internal", detail, headers=headers)
