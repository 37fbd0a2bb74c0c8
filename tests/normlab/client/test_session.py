"""How the client handles answers that span several requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import httpx
import pytest

from normlab.client import Client
from normlab.errors import ServiceUnavailable
from normlab.records import JobRecord


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://stack", http=httpx.MockTransport(answer), sleep=lambda s: None, tries=1)


def job(number: int) -> Dict[str, Any]:
    return {
        **{n: None if f.is_required() else f.default for n, f in JobRecord.model_fields.items()},
        "id": f"j{number}",
        "owner": "me",
        "state": "queued",
        "normalizer": "batch",
        "proxy": False,
        "model": "preresnet8",
        "dataset": "digits",
        "batch_size": 32,
        "samples_per_update": 32,
        "seed": 0,
        "device": "cpu",
        "device_reason": "asked for",
        "timing_valid": True,
        "priority": 0,
        "attempt": 0,
        "max_attempts": 3,
        "step": 0,
        "epoch": 0,
        "epochs": 5,
        "created_at": "2026-01-01T00:00:00Z",
        "cancel_requested": False,
        "fingerprint": "f",
        "last": {},
    }


class Pages:
    """Serves *total* jobs, at most *size* per page."""

    def __init__(self, total: int, size: int) -> None:
        self.total, self.size = total, size
        self.asked: List[Dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        self.asked.append(query)
        begin = int(query.get("cursor", 0))
        end = min(self.total, begin + min(self.size, int(query["limit"])))
        jobs = [job(n) for n in range(begin, end)]
        cursor = str(end) if end < self.total else None
        return httpx.Response(200, json={"jobs": jobs, "next_cursor": cursor})


def test_a_list_continues_over_all_pages() -> None:
    pages = Pages(total=7, size=3)
    found = [j.id for j in client_of(pages).list(state="queued")]
    assert found == [f"j{n}" for n in range(7)]
    assert [q.get("cursor") for q in pages.asked] == [None, "3", "6"]
    assert all(q["state"] == "queued" for q in pages.asked)


def test_a_list_stops_at_its_limit_and_asks_for_no_more_than_that() -> None:
    pages = Pages(total=1000, size=1000)
    assert len(list(client_of(pages).list(limit=4))) == 4
    assert [q["limit"] for q in pages.asked] == ["4"]


def log_server(pieces: List[str], ended_after: int) -> Callable[[httpx.Request], httpx.Response]:
    text = "".join(pieces)
    asked: List[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        asked.append(offset)
        known = len("".join(pieces[: len(asked)]))
        page = {"offset": offset, "next_offset": known, "text": text[offset:known]}
        return httpx.Response(200, json={**page, "ended": len(asked) > ended_after})

    return answer


def test_a_followed_log_continues_until_the_job_has_ended() -> None:
    server = log_server(["one\n", "", "two\n"], ended_after=3)
    assert "".join(client_of(server).logs("j1", follow=True)) == "one\ntwo\n"


def test_a_log_that_is_not_followed_ends_when_there_is_nothing_new() -> None:
    server = log_server(["one\n", "", "two\n"], ended_after=99)
    assert "".join(client_of(server).logs("j1")) == "one\n"


def test_an_interrupted_download_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield b"half"
        raise httpx.ReadError("gone")

    client = client_of(lambda request: httpx.Response(200, content=broken()))
    with pytest.raises(ServiceUnavailable):
        client.download("j1", "weights", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_download_arrives_whole(tmp_path: Path) -> None:
    client = client_of(lambda request: httpx.Response(200, content=b"weights"))
    assert client.download("j1", "weights", tmp_path / "w").read_bytes() == b"weights"


def test_metrics_without_names_are_all_that_the_job_has() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/metrics"):
            name = request.url.params["name"]
            series = {"name": name, "steps": [1], "values": [0.5], "times": [0.0], "points": 1}
            return httpx.Response(200, json=series)
        last = {n: {"step": 1, "value": 0.5, "min": 0.5, "max": 0.5} for n in ("a", "b")}
        detail = {**job(1), "last": last, "attempts": [], "spec": {"normalizer": "batch"}}
        return httpx.Response(200, content=json.dumps(detail))

    assert sorted(client_of(answer).metrics("j1")) == ["a", "b"]


def test_one_metric_of_many_jobs_comes_in_their_order_in_as_few_requests_as_the_server_allows() -> (
    None
):
    asked: List[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        jobs = request.url.params.get_list("job")
        asked.append(len(jobs))
        values = {"steps": [1], "times": [0.0], "points": 1}
        return httpx.Response(
            200, json=[{"name": "a", "values": [int(j, 16)], **values} for j in jobs]
        )

    jobs = [f"{n:032x}" for n in range(120)]
    found = client_of(answer).series(jobs, "a")
    assert [one.values for one in found] == [[n] for n in range(120)]
    assert asked == [100, 20]


def test_the_kinds_of_diagnostic_can_be_listed() -> None:
    fields = dict.fromkeys(("summary", "when", "metrics", "cost", "source"), "-")

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/diagnostics"
        return httpx.Response(200, json=[{"name": "power", **fields}])

    assert [kind.name for kind in client_of(answer).diagnostic_kinds()] == ["power"]
