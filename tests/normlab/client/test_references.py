"""References to jobs and studies: ids, parts of ids, and names."""

from __future__ import annotations

from typing import Dict, List

import httpx
import pytest

from normlab.client import Client
from normlab.errors import InvalidSpec, NotFound

FIRST = "01a22b00-0000-7000-8000-00000000beef"
SECOND = "01a22b00-0000-7000-8000-11110000beef"
THIRD = "01a22b00-0000-7000-8000-22220000cafe"
OTHERS = "01a22b00-0000-7000-8000-333300001234"


class Stack:
    """Serves studies to their owner, two per page, and records the requests."""

    def __init__(self, names: Dict[str, str]) -> None:
        self.names = names
        self.trash: Dict[str, str] = {}
        self.asked: List[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        if request.url.path != "/v1/studies":
            self.asked.append(request.url.path)
            return httpx.Response(200, json=[])
        names = self.trash if query.get("trash") == "true" else self.names
        known = [s for s in names if query.get("mine") != "true" or s != OTHERS]
        known = [s for s in known if query.get("name") in (None, names[s])]
        begin = int(query.get("cursor", 0))
        cursor = str(begin + 2) if begin + 2 < len(known) else None
        page = [{"id": study} for study in known[begin : begin + 2]]
        return httpx.Response(200, json={"studies": page, "next_cursor": cursor})


NAMES = {FIRST: "small batches", SECOND: "small batches", THIRD: "beta [2]/3?", OTHERS: "theirs"}


@pytest.fixture
def stack() -> Stack:
    return Stack(dict(NAMES))


@pytest.fixture
def client(stack: Stack) -> Client:
    return Client("http://stack", http=httpx.MockTransport(stack), tries=1)


@pytest.mark.parametrize("text", [THIRD, "cafe", "CAFE", " 22220000cafe", NAMES[THIRD]])
def test_a_study_is_found_by_its_id_an_end_of_it_or_its_name(
    client: Client, stack: Stack, text: str
) -> None:
    client.studies.metrics(text)
    assert stack.asked == [f"/v1/studies/{THIRD}/metrics"]


@pytest.mark.parametrize("text", ["small batches", "beef", "01a22b00"])
def test_a_reference_that_matches_several_studies_is_refused_with_their_ids(
    client: Client, stack: Stack, text: str
) -> None:
    with pytest.raises(InvalidSpec, match=f"study '{text}' may be {FIRST}, {SECOND}.*more of"):
        client.studies.complete(text)
    assert stack.asked == []


def test_a_name_that_is_the_end_of_another_studys_id_is_refused_with_both(
    client: Client, stack: Stack
) -> None:
    stack.names[FIRST] = "cafe"
    with pytest.raises(InvalidSpec, match=f"{THIRD}, {FIRST}"):
        client.studies.get("cafe")


def test_a_study_named_like_the_end_of_its_own_id_is_found(client: Client, stack: Stack) -> None:
    stack.names[THIRD] = "cafe"
    client.studies.metrics("cafe")
    assert stack.asked == [f"/v1/studies/{THIRD}/metrics"]


@pytest.mark.parametrize("text", ["theirs ", "small  batches", "..", "a/b", "a?b", "ünknown", ""])
def test_an_empty_name_is_not_sent_to_the_server(client: Client, stack: Stack, text: str) -> None:
    with pytest.raises(
        NotFound, match="no id begins or ends with it, and none of yours has this name"
    ):
        client.studies.get(text)
    assert stack.asked == []


def test_a_study_of_another_owner_is_found_only_by_its_id(client: Client, stack: Stack) -> None:
    client.studies.metrics("1234")
    client.studies.metrics("theirs")
    assert stack.asked == [f"/v1/studies/{OTHERS}/metrics", "/v1/studies/theirs/metrics"]


def test_jobs_cannot_be_found_by_name(client: Client) -> None:
    with pytest.raises(NotFound, match=r"no job 'a b': no id begins or ends with it$"):
        client.get("a b")


def test_what_is_only_in_the_trash_is_found_there(client: Client, stack: Stack) -> None:
    stack.trash = {THIRD: stack.names.pop(THIRD)}
    for text in ("cafe", NAMES[THIRD]):
        client.studies.metrics(text)
    assert stack.asked == [f"/v1/studies/{THIRD}/metrics"] * 2


def test_what_is_in_the_trash_too_is_the_other_one_unless_it_is_taken_out(
    client: Client, stack: Stack
) -> None:
    stack.names, stack.trash = {FIRST: "kinds"}, {SECOND: "kinds"}
    client.studies.metrics("kinds")
    assert client.trash._old_study.full("kinds") == SECOND
    assert stack.asked == [f"/v1/studies/{FIRST}/metrics"]
