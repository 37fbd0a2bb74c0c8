"""Requests are repeated where this is safe, and failures become our errors."""

from __future__ import annotations

import math
from typing import Callable, List, Union

import httpx
import pytest

from normlab import errors
from normlab.client import Client
from normlab.client.problems import BY_CODE, by_code, from_problem
from normlab.errors import InvalidSpec, NormlabError, ServiceUnavailable

CREATED = {
    "id": "j1",
    "state": "queued",
    "device": "cpu",
    "device_reason": "asked for",
    "samples_per_update": 32,
}
Script = List[Union[httpx.Response, Exception]]


def client_of(script: Script, seen: List[httpx.Request], slept: List[float]) -> Client:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return Client(
        "http://stack", "secret", http=httpx.MockTransport(answer), sleep=slept.append, tries=4
    )


@pytest.fixture
def seen() -> List[httpx.Request]:
    return []


@pytest.fixture
def slept() -> List[float]:
    return []


def test_a_submission_with_a_lost_answer_is_repeated_with_the_same_key(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [httpx.ReadTimeout("lost"), httpx.Response(202, json=CREATED)]
    assert client_of(script, seen, slept).submit({"normalizer": "batch"}).id == "j1"
    keys = {request.headers["Idempotency-Key"] for request in seen}
    assert (len(seen), len(keys), len(slept)) == (2, 1, 1)


def test_every_submission_has_its_own_key(seen: List[httpx.Request], slept: List[float]) -> None:
    client = client_of([httpx.Response(202, json=CREATED) for _ in range(2)], seen, slept)
    client.submit({"normalizer": "batch"})
    client.submit({"normalizer": "batch"})
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 2


def test_a_cancel_that_may_have_arrived_is_not_sent_again(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    with pytest.raises(ServiceUnavailable, match="normlab up"):
        client_of([httpx.ReadTimeout("lost")], seen, slept).cancel("j1")
    assert len(seen) == 1


def test_a_cancel_that_never_left_is_sent_again(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [
        httpx.ConnectError("refused"),
        httpx.Response(409, json={"code": "conflict", "detail": "it has ended"}),
    ]
    with pytest.raises(errors.Conflict, match="it has ended"):
        client_of(script, seen, slept).cancel("j1")
    assert len(seen) == 2


def test_the_client_waits_as_long_as_a_busy_server_requests(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [
        httpx.Response(503, headers={"Retry-After": "2"}),
        httpx.Response(200, json=[]),
    ]
    assert client_of(script, seen, slept).models() == []
    assert 2.0 in slept


def test_a_result_under_way_is_requested_again_until_it_is_ready(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    def later() -> httpx.Response:
        body = {"status": "under_way", "detail": "still being worked on"}
        return httpx.Response(202, headers={"Retry-After": "3"}, json=body)

    script: Script = [later(), later(), httpx.Response(200, json=[])]
    assert client_of(script, seen, slept).models() == []
    assert slept.count(3.0) == 2
    with pytest.raises(errors.ReadTimedOut, match="still being worked on"):
        client_of([later() for _ in range(4)], seen, slept).models()


def test_an_unreachable_server_is_given_up_with_advice(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [httpx.ConnectError("refused") for _ in range(4)]
    with pytest.raises(ServiceUnavailable, match=r"http://stack.*normlab up"):
        client_of(script, seen, slept).get("j1")
    assert len(seen) == 4


def test_the_token_travels_as_a_bearer(seen: List[httpx.Request], slept: List[float]) -> None:
    client_of([httpx.Response(200, json=[])], seen, slept).models()
    assert seen[0].headers["Authorization"] == "Bearer secret"


def test_nan_reaches_the_server_which_names_the_field(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    problem = {
        "code": "invalid_spec",
        "detail": "1 field is wrong",
        "errors": [{"field": "optimizer.lr", "rule": "must be finite"}],
    }
    client = client_of([httpx.Response(422, json=problem)], seen, slept)
    with pytest.raises(errors.InvalidSpec) as caught:
        client.submit({"optimizer": {"lr": float("nan")}})
    assert b"NaN" in seen[0].content
    assert [(p.field, p.rule) for p in caught.value.problems] == [
        ("optimizer.lr", "must be finite")
    ]


def test_nan_and_infinity_beside_a_record_come_back_as_numbers(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    told = {
        "name": "train/loss", "steps": [1, 2], "values": [0.5, None], "times": [], "points": 2,
        "last": {"step": 2, "value": None, "min": 0.5, "max": None,
                 "not_finite": {"/value": "NaN", "/max": "Infinity"}},
        "not_finite": {"/values/1": "-Infinity"},
    }  # fmt: skip
    client = client_of([httpx.Response(200, json=[told])], seen, slept)
    (found,) = client.series(["j1"], "train/loss")
    assert found.values == [0.5, -math.inf]
    assert found.last is not None
    assert math.isnan(found.last.value or 0)
    assert found.last.max == math.inf


def test_null_of_a_server_of_an_earlier_version_is_nan(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    last = {"step": 2, "value": None, "min": 0.5, "max": 0.5}
    told = {"name": "train/loss", "steps": [2], "values": [None], "times": [], "points": 1}
    client = client_of([httpx.Response(200, json=[{**told, "last": last}])], seen, slept)
    (found,) = client.series(["j1"], "train/loss")
    assert found.last is not None
    assert math.isnan(found.last.number())
    assert math.isnan(found.numbers()[0])


def every_error() -> List[type]:
    found: List[type] = []
    todo: List[type] = [NormlabError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        # an error class defined elsewhere comes back as its base class
        todo += [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.code)
def test_every_error_of_the_tree_comes_back_as_itself(kind: Callable[..., NormlabError]) -> None:
    code = kind.code
    error = from_problem(500, {"code": code, "detail": "so it is"}, "")
    assert (type(error), str(error)) == (kind, "so it is")


def test_a_class_that_inherits_its_code_does_not_come_back_instead() -> None:
    class Narrower(errors.InvalidSpec):
        """Has its own arguments."""

    found = by_code(NormlabError)
    assert found[Narrower.code] is errors.InvalidSpec


def test_codes_are_unique() -> None:
    assert len(BY_CODE) == len(every_error())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthorized),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.InvalidSpec),
        (429, errors.QuotaExceeded),
        (502, errors.ServiceUnavailable),
        (418, NormlabError),
    ],
)
def test_an_answer_without_a_code_is_classified_by_its_status(status: int, kind: type) -> None:
    error = from_problem(status, None, "a proxy said so")
    assert type(error) is kind
    assert str(error) == "a proxy said so"


def test_an_answer_that_is_not_json_raises_our_own_error(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [httpx.Response(500, text="<html>boom</html>")]
    with pytest.raises(ServiceUnavailable, match="http://stack does not answer as normlab does"):
        client_of(script, seen, slept).get("j1")


def test_something_else_that_answers_is_not_taken_for_the_service(
    seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [httpx.Response(200, text="<html>welcome</html>")]
    with pytest.raises(ServiceUnavailable, match="is the address right") as caught:
        client_of(script, seen, slept).get("01a22b00-0000-7000-8000-00000000beef")
    assert "\n" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidSpec, match="line break") as caught:
        Client("http://stack", "secret\n")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "Connection refused"),
        (
            httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"),
            "it does not encrypt; begin the address with http://",
        ),
        (httpx.ConnectError("[SSL: X] unknown authority (_ssl.c:1)"), "unknown authority"),
        (httpx.ReadError(""), "the connection was lost"),
        (httpx.ReadTimeout(""), "it took too long"),
    ],
)
def test_an_unreachable_server_is_told_of_without_the_words_of_libraries(
    cause: Exception, words: str, seen: List[httpx.Request], slept: List[float]
) -> None:
    script: Script = [cause] * 4
    with pytest.raises(ServiceUnavailable, match=rf"http://stack \({words}\); is it"):
        client_of(script, seen, slept).get("j1")
