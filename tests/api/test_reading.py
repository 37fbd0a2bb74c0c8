"""Reports of jobs, read over HTTP: curves, logs, files, diagnostics."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.main import create_app
from normlab.events import ArtifactWritten, Diagnostic, Finished, Series
from normlab.records import LogPage, SeriesRecord
from service.jobs import leases
from service.jobs.doorbell import SilentDoorbell
from service.jobs.leases import Lease
from service.results import artifacts, diagnostics, logs, many_curves, metric_reports
from service.settings import Settings
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.api.serving import serve


@pytest.fixture
def claim(client: httpx.Client, database: Database) -> Lease:
    """A running job."""
    client.post("/v1/jobs", json=a_job())
    claimed = leases.claim(database, "cpu", "w", 30)
    assert claimed is not None
    return claimed


def report(database: Database, claim: Lease, name: str, values: list[float]) -> None:
    steps = list(range(1, len(values) + 1))
    series = Series(steps=steps, values=values, times=[float(s) for s in steps])
    with database.begin() as connection:
        metric_reports.append(connection, claim, {name: series})


def test_a_curve_comes_as_columns(client: httpx.Client, database: Database, claim: Lease) -> None:
    report(database, claim, "train/loss", [3.0, float("nan"), float("-inf")])
    path = f"/v1/jobs/{claim.job}/metrics"
    found = SeriesRecord.model_validate_json(
        client.get(path, params={"name": "train/loss"}).content
    )
    assert (found.steps, found.values, found.points) == ([1, 2, 3], [3.0, None, None], 3)
    named = {"/values/1": "NaN", "/values/2": "-Infinity"}
    assert found.not_finite == named
    listed = client.get("/v1/series", params={"name": "train/loss", "job": str(claim.job)}).json()
    assert listed[0]["not_finite"] == named
    names = client.get(f"/v1/jobs/{claim.job}/metrics:names").json()
    assert names["train/loss"]["not_finite"] == {"/value": "-Infinity", "/min": "-Infinity"}
    part = client.get(path, params={"name": "train/loss", "from_step": 2, "to_step": 2}).json()
    assert part["steps"] == [2]


def test_a_long_curve_comes_as_buckets_with_their_bounds(
    client: httpx.Client, database: Database, claim: Lease
) -> None:
    report(database, claim, "train/loss", [float(i % 10) for i in range(1000)])
    params = {"name": "train/loss", "max_points": 10}
    found = client.get(f"/v1/jobs/{claim.job}/metrics", params=params).json()
    assert (len(found["steps"]), found["points"]) == (10, 1000)
    assert set(found["min"]) == {0.0}
    assert set(found["max"]) == {9.0}
    assert found["values"] == pytest.approx([4.5] * 10)


def test_the_error_for_an_unknown_metric_names_the_nearest(
    client: httpx.Client, database: Database, claim: Lease
) -> None:
    report(database, claim, "val/accuracy", [0.5])
    response = client.get(f"/v1/jobs/{claim.job}/metrics", params={"name": "val/acuracy"})
    assert response.status_code == 404
    assert "val/accuracy" in response.json()["detail"]


def test_curves_of_several_jobs_come_in_one_answer(
    client: httpx.Client, database: Database, claim: Lease
) -> None:
    report(database, claim, "val/accuracy", [0.5, 0.75])
    other = client.post("/v1/jobs", json=a_job()).json()["id"]
    params = {"name": "val/accuracy", "job": [other, str(claim.job)]}
    found = client.get("/v1/series", params=params).json()
    assert [series["values"] for series in found] == [[], [0.5, 0.75]]


def test_a_log_is_read_from_any_offset_and_from_its_end(
    client: httpx.Client, database: Database, claim: Lease
) -> None:
    with database.begin() as connection:
        logs.append(connection, claim, 0, "first\nsecond\nÄnde\n".encode())
    path = f"/v1/jobs/{claim.job}/logs"
    assert client.get(path, params={"offset": 6, "limit": 7}).json()["text"] == "second\n"
    tail = LogPage.model_validate_json(client.get(path, params={"offset": -6}).content)
    assert (tail.text, tail.ended) == ("Ände\n", False)


def test_following_a_log_waits_for_the_next_piece(
    client: httpx.Client, database: Database, claim: Lease
) -> None:
    def write() -> None:
        with database.begin() as connection:
            logs.append(connection, claim, 0, b"at last\n")

    timer = threading.Timer(0.2, write)
    timer.start()
    page = client.get(f"/v1/jobs/{claim.job}/logs", params={"follow": 20}).json()
    timer.join()
    assert page["text"] == "at last\n"
    leases.finish(database, claim, Finished(step=1, summary={}))
    path = f"/v1/jobs/{claim.job}/logs"
    end = client.get(path, params={"offset": page["next_offset"], "follow": 60}).json()
    assert (end["text"], end["ended"]) == ("", True)


@pytest.fixture
def weights(database: Database, claim: Lease, tmp_path: Path) -> bytes:
    """A file of the job."""
    content = bytes(range(256)) * 40
    path = tmp_path / "jobs" / str(claim.job) / "weights.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    written = ArtifactWritten(
        name=path.name,
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
    )
    with database.begin() as connection:
        artifacts.keep_artifact(connection, claim, written)
    return content


def test_a_file_is_listed_and_downloaded(
    client: httpx.Client, claim: Lease, weights: bytes
) -> None:
    path = f"/v1/jobs/{claim.job}/artifacts"
    (listed,) = client.get(path).json()
    assert (listed["name"], listed["kind"]) == ("weights.safetensors", "weights")
    response = client.get(f"{path}/weights.safetensors")
    assert response.content == weights
    assert hashlib.sha256(response.content).hexdigest() == listed["sha256"]
    assert "attachment" in response.headers["content-disposition"]


def test_an_interrupted_download_can_be_continued(
    client: httpx.Client, claim: Lease, weights: bytes
) -> None:
    path = f"/v1/jobs/{claim.job}/artifacts/weights.safetensors"
    response = client.get(path, headers={"Range": "bytes=100-199"})
    assert (response.status_code, response.content) == (206, weights[100:200])
    assert client.get(path, headers={"Range": "bytes=99999-"}).status_code == 416


def test_a_deleted_or_unknown_file_is_404(
    client: httpx.Client, claim: Lease, weights: bytes, tmp_path: Path
) -> None:
    (tmp_path / "jobs" / str(claim.job) / "weights.safetensors").unlink()
    path = f"/v1/jobs/{claim.job}/artifacts"
    assert "gone" in client.get(f"{path}/weights.safetensors").json()["detail"]
    for name in ("other", "..%2f..%2fetc%2fpasswd", "%00"):
        assert client.get(f"{path}/{name}").status_code in (404, 422)


def test_the_records_of_a_diagnostic_are_read_back(
    client: httpx.Client, database: Database, claim: Lease
) -> None:
    found = Diagnostic(name="power", step=3, record={"conv1": [0.25, 0.75]})
    with database.begin() as connection:
        diagnostics.keep(connection, claim, found)
    path = f"/v1/jobs/{claim.job}/diagnostics"
    assert client.get(path).json() == [{"name": "power", "step": 3, "record": found.record}]
    assert client.get(path, params={"name": "other"}).json() == []


def test_curves_that_take_longer_than_a_read_may_are_there_for_whoever_asks_again(
    settings: Settings, database: Database, claim: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(database, claim, "train/loss", [3.0, 1.0])
    goes_on = threading.Event()
    read = many_curves.read

    def slow(*args: Any) -> Any:
        assert goes_on.wait(60)
        return read(*args)

    monkeypatch.setattr(many_curves, "read", slow)
    hasty = create_app(settings.model_copy(update={"read_timeout_s": 0.05}), SilentDoorbell())
    params = {"name": "train/loss", "job": str(claim.job)}
    headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
    with serve(hasty) as url, httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        answer = client.get("/v1/series", params=params)
        assert (answer.status_code, answer.json()["status"]) == (202, "under_way")
        goes_on.set()
        while answer.status_code == 202:
            answer = client.get("/v1/series", params=params)
        assert [series["values"] for series in answer.json()] == [[3.0, 1.0]]
