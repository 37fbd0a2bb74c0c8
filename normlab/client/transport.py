"""HTTP requests: repeated if that is safe, with errors of our own tree."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Type, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel

from normlab.client.problems import from_problem
from normlab.errors import InvalidSpec, NormlabError, ServiceUnavailable
from normlab.not_finite import NAMES, put_back
from normlab.stacks.proxies import http_client, why_silent

API = "/v1"
TRY_AGAIN = {429, 502, 503, 504}
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


class Transport:
    """
    An HTTP connection to one API.

    Args:
        url: the address of the server, without `/v1`.
        token: sent as a bearer token.
        timeout_s: the longest silence of the server within one request.
        tries: the number of tries for a request that may be repeated.
        http: another transport of httpx, for tests.
        sleep: waits between tries.
        certificate: the exact certificate of the server; None for one that the system trusts.

    Raises:
        InvalidSpec: *url* is not the address of a server.
    """

    def __init__(
        self,
        url: str,
        token: Optional[str],
        *,
        timeout_s: float = 30.0,
        tries: int = 5,
        http: Optional[httpx.BaseTransport] = None,
        sleep: Callable[[float], None] = time.sleep,
        certificate: Optional[Path] = None,
    ) -> None:
        self.url = _checked(url)
        _check_token(token)
        self.tries = tries
        self.sleep = sleep
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0))
        self.client = http_client(
            self.url + API, transport=http, timeout=timeout, certificate=certificate
        )
        if token:
            self.client.headers["Authorization"] = f"Bearer {token}"

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Optional[Mapping[str, Any]] = None,
        json: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        repeatable: Optional[bool] = None,
    ) -> httpx.Response:
        """
        Send a request and return its successful response.

        Args:
            method: the HTTP method.
            path: below `/v1`.
            params: the query; values that are None are omitted.
            json: the body.
            headers: further headers.
            repeatable: whether the request may be delivered twice; None: only if it is a GET.

        Raises:
            NormlabError: the error that the server sent.
            ServiceUnavailable: if there was no response.
        """
        safe = method == "GET" if repeatable is None else repeatable
        query = _without_none(params)
        # NaN is sent unchanged: the server names the field and the rule that it breaks
        body = None if json is None else dumps(json).encode()
        sent = {**(headers or {}), **({"Content-Type": "application/json"} if body else {})}
        for attempt in range(self.tries):
            last = attempt == self.tries - 1
            try:
                answer = self.client.request(method, path, params=query, content=body, headers=sent)
            except httpx.TransportError as e:
                # without a connection nothing was delivered, so any method may be repeated
                if last or not (safe or isinstance(e, httpx.ConnectError)):
                    raise self.unreachable(e) from e
            else:
                if not (safe and not last and _later(answer)):
                    return _good(answer)
                self.sleep(_retry_after(answer))
            self.sleep(pause(attempt))
        raise ServiceUnavailable(
            f"no request was sent to {self.url}: {self.tries=} must be 1 or more"
        )

    def record(self, kind: Type[AnyRecord], method: str, path: str, **how: Any) -> AnyRecord:
        """Send a request and read its answer as a *kind*; *how* is that of `send`."""
        answer = self.send(method, path, **how)
        try:
            if _may_have_places(answer.content):
                return kind.model_validate(put_back(answer.json()))
            return kind.model_validate_json(answer.content)  # in one step, which is faster
        except (ValueError, LookupError) as e:
            raise ServiceUnavailable(_foreign(answer)) from e

    def records(self, kind: Type[AnyRecord], path: str, **how: Any) -> List[AnyRecord]:
        """Get a list whose members are each a *kind*; *how* is that of `send`."""
        answer = self.send("GET", path, **how)
        try:
            return [kind.model_validate(one) for one in put_back(answer.json())]
        except (ValueError, LookupError) as e:
            raise ServiceUnavailable(_foreign(answer)) from e

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        silence_s: Optional[float] = None,
    ) -> Iterator[httpx.Response]:
        """Open a response that is read in pieces; it raises the same errors as `send`."""
        timeout = httpx.Timeout(silence_s or self.client.timeout.read, connect=5.0)
        request = self.client.build_request(
            "GET", path, params=_without_none(params), headers=dict(headers or {}), timeout=timeout
        )
        try:
            answer = self.client.send(request, stream=True)
            try:
                if answer.status_code >= 400:
                    answer.read()
                yield _good(answer)
            finally:
                answer.close()
        except httpx.TransportError as e:
            raise self.unreachable(e) from e

    def save(self, path: str, target: Path) -> Path:
        """Download the file at *path* to *target*, atomically."""
        part = target.with_name(target.name + ".part")
        with self.stream(path) as answer, part.open("wb") as f:
            for block in answer.iter_bytes():
                f.write(block)
        part.replace(target)
        return target

    def unreachable(self, cause: Exception) -> ServiceUnavailable:
        """Return the error for a server that does not answer."""
        return ServiceUnavailable(
            f"no answer from {self.url} ({why_silent(cause)}); "
            "is it running? `normlab up` starts a stack here, `normlab doctor` finds the problem"
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class Part:
    """A part of a Client, such as `client.tokens`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
        whole = (
            whole and " " not in url and parts.port != 0
        )  # reading the port raises an error if it is invalid
    except ValueError:
        whole = False
    if not whole:
        raise InvalidSpec(
            f"{url!r} is not the address of an API; write scheme, host and port, such as "
            "http://127.0.0.1:8642"
        )
    return url.rstrip("/")


def _check_token(token: Optional[str]) -> None:
    if token is not None and not token.isprintable():
        raise InvalidSpec(
            "the token has a line break or another invisible character; copy it again"
        )


def pause(attempt: int) -> float:
    """Return the seconds before try number *attempt* + 1: doubling, with jitter, bounded."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt) * random.uniform(0.5, 1.0)


def _later(answer: httpx.Response) -> bool:
    return answer.status_code in TRY_AGAIN or _under_way(answer)


def _under_way(answer: httpx.Response) -> bool:
    # with `Retry-After`: the request is still in progress, and this is not its result
    return answer.status_code == 202 and "Retry-After" in answer.headers


def _good(answer: httpx.Response) -> httpx.Response:
    if answer.status_code < 400 and not _under_way(answer):
        return answer
    raise _error(answer)


def _error(answer: httpx.Response) -> NormlabError:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return from_problem(answer.status_code, body, _foreign(answer))


def _foreign(answer: httpx.Response) -> str:
    """Return the error for an answer that is not from our API, or from another version of it."""
    where, said = answer.request.url.copy_with(path="/", query=None), answer.reason_phrase
    return (
        f"{str(where).rstrip('/')} does not answer as normlab does ({said}); is the address right, "
        "and does the stack there have the version of this client?"
    )


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(LONGEST_PAUSE_S, float(answer.headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0


def _may_have_places(content: bytes) -> bool:
    return any(f'"{name}"'.encode() in content for name in NAMES)


def _without_none(params: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}
