"""Jobs over HTTP: submit, read, list, cancel, retry, validate."""

from __future__ import annotations

import concurrent.futures

import httpx
import pytest

from normlab.events import Failed
from normlab.records import JobDetail, Validation
from service.jobs import leases, listing, workers
from service.jobs.doorbell import SilentDoorbell
from service.store.database import Database
from tests.api.conftest import a_job, token_header


def submit(client: httpx.Client, **fields: object) -> str:
    response = client.post("/v1/jobs", json=a_job(**fields))
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def fail_next(database: Database) -> None:
    claim = leases.claim(database, "cpu", "w", 30)
    assert claim is not None
    error = Failed(code="loss_not_finite", failure_kind="user", retryable=False, message="at 3")
    leases.fail(database, claim, error)


def beat(database: Database, device: str, /, **facts: object) -> None:
    workers.beat(
        database,
        worker=f"{device}-worker",
        device=device,
        hostname="here",
        slots=2,
        busy=0,
        description="a device of a test",
        memory_bytes=2**30,
        versions={"torch": "2"},
        facts=facts,
    )


def test_an_accepted_job_has_its_place_in_the_queue_and_its_address(client: httpx.Client) -> None:
    response = client.post("/v1/jobs", json=a_job(gradient_accumulation=4))
    assert response.status_code == 202, response.text
    body = response.json()
    assert response.headers["location"] == f"/v1/jobs/{body['id']}"
    assert (body["state"], body["device"], body["samples_per_update"]) == ("queued", "cpu", 32)
    seen = JobDetail.model_validate_json(client.get(response.headers["location"]).content)
    assert (seen.id, seen.spec.gradient_accumulation) == (body["id"], 4)
    assert seen.steps == 5 * (1200 // 32)


def test_a_new_job_wakes_a_worker_of_its_device_and_a_repeated_one_does_not(
    client: httpx.Client, doorbell: SilentDoorbell
) -> None:
    headers = {"Idempotency-Key": "once"}
    for _ in range(3):
        client.post("/v1/jobs", json=a_job(), headers=headers)
    submit(client, device="cuda")
    for _ in range(100):
        if len(doorbell.rung) == 2:
            break
        client.get("/livez")
    assert doorbell.rung == ["cpu", "cuda"]


def test_a_device_without_a_worker_is_accepted_and_the_job_says_what_it_waits_for(
    client: httpx.Client,
) -> None:
    response = client.post("/v1/jobs", json=a_job(device="cuda"))
    assert response.status_code == 202
    assert "no worker for cuda is live" in response.json()["device_reason"]
    job = client.get(f"/v1/jobs/{response.json()['id']}").json()
    assert "worker for cuda" in job["waiting_for"]


def test_a_small_batch_goes_to_a_live_ipu_automatically(
    client: httpx.Client, database: Database
) -> None:
    beat(database, "ipu")
    body = client.post("/v1/jobs", json=a_job(normalizer="group", batch_size=4)).json()
    assert body["device"] == "ipu"
    assert "small" in body["device_reason"]


def test_the_same_key_and_body_are_one_job_even_if_sent_many_times_at_once(
    client: httpx.Client,
) -> None:
    def post(_: int) -> tuple[int, str]:
        response = client.post("/v1/jobs", json=a_job(), headers={"Idempotency-Key": "k1"})
        return response.status_code, response.json()["id"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(post, range(16)))
    assert len(answers) == 1
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_a_key_with_another_body_is_refused_and_changes_nothing(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k1"}
    client.post("/v1/jobs", json=a_job(), headers=headers)
    response = client.post("/v1/jobs", json=a_job(seed=1), headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_the_pages_of_a_list_together_contain_all_jobs(client: httpx.Client) -> None:
    made = [submit(client, seed=seed) for seed in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_a_list_is_filtered_and_sorted(client: httpx.Client) -> None:
    small = submit(client, batch_size=2, name="small one")
    large = submit(client, batch_size=64, normalizer="group")

    def ids(**params: str) -> list[str]:
        answer = client.get("/v1/jobs", params=params).raise_for_status()
        return [job["id"] for job in answer.json()["jobs"]]

    assert ids(normalizer="group") == [large]
    assert ids(name="SMALL") == [small]
    assert ids(filter="batch_size <= 4 or normalizer = layer") == [small]
    assert ids(sort="batch_size") == [small, large]
    assert ids(state="running") == []


def test_a_queued_job_is_cancelled_at_once_and_only_once(client: httpx.Client) -> None:
    job = submit(client)
    assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    response = client.post(f"/v1/jobs/{job}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


def test_a_failed_job_can_be_retried_and_a_queued_one_cannot(
    client: httpx.Client, database: Database, doorbell: SilentDoorbell
) -> None:
    job = submit(client)
    assert client.post(f"/v1/jobs/{job}/retry").status_code == 409
    fail_next(database)
    failed = client.get(f"/v1/jobs/{job}").json()
    assert (failed["state"], failed["error"]["code"]) == ("failed", "loss_not_finite")
    retried = client.post(f"/v1/jobs/{job}/retry").json()
    assert (retried["state"], len(retried["attempts"])) == ("queued", 1)


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_only_an_admin_may_change_the_job_of_another_owner(
    client: httpx.Client, nobody: httpx.Client, database: Database, verb: str
) -> None:
    adas = token_header(database, "ada", "submit")
    job = nobody.post("/v1/jobs", json=a_job(), headers=adas).json()["id"]
    bobs = token_header(database, "bob", "submit")
    response = nobody.post(f"/v1/jobs/{job}/{verb}", headers=bobs)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert "'ada'" in response.json()["detail"]
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 200


@pytest.mark.parametrize("path", ["", "/metrics?name=x", "/logs", "/artifacts", "/events"])
def test_an_unknown_job_is_404(client: httpx.Client, path: str) -> None:
    for name in ("nope", "0190b3a0-0000-7000-8000-000000000000"):
        response = client.get(f"/v1/jobs/{name}{path}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_validation_resolves_the_spec_and_queues_nothing(
    client: httpx.Client, database: Database
) -> None:
    beat(database, "cpu")
    response = client.post("/v1/jobs:validate", json=a_job(normalizer="online"))
    found = Validation.model_validate_json(response.content)
    assert found.spec.normalizer.kind == "online"
    assert (found.device, found.samples_per_update, found.steps) == ("cpu", 8, 750)
    assert found.queue_position == 1
    verdicts = {v.device: (v.accepted, v.reason) for v in found.verdicts}
    assert verdicts["cpu"] == (True, "1 live")
    assert verdicts["ipu"][0] is False
    assert verdicts["ipu"][1].startswith("normalizer.kind: 'online' cannot run on an IPU")
    assert "backward control process" in verdicts["ipu"][1]
    assert listing.list_jobs(database).jobs == []


def test_a_job_and_a_study_of_it_have_the_same_estimate_in_the_same_words(
    client: httpx.Client, database: Database
) -> None:
    beat(database, "cpu")
    job = a_job(normalizer="online")
    tried = client.post("/v1/jobs:validate", json=job).json()
    study = client.post("/v1/studies:preview", json={"name": "s", "base": job}).json()
    assert tried["estimated_s"] == study["estimated_s"] > 0
    assert tried["estimate"] == study["estimate"]
    assert "from a calibration on one core of a CPU" in tried["estimate"]


def test_auto_ignores_a_worker_whose_host_lacks_the_device(
    client: httpx.Client, database: Database
) -> None:
    beat(database, "cpu")
    beat(database, "cuda", able=False, device="torch sees no GPU")
    response = client.post("/v1/jobs:validate", json=a_job())
    found = Validation.model_validate_json(response.content)
    assert found.device == "cpu"
    assert "no live worker for cuda has one: torch sees no GPU" in found.device_reason
    verdicts = {v.device: v.reason for v in found.verdicts}
    assert verdicts["cuda"] == "1 live, and none has the device: torch sees no GPU"


def test_a_full_quota_is_429_with_a_time_to_try_again(
    database_url: str, settings: object, database: Database
) -> None:
    from api.main import create_app
    from service.settings import Settings
    from tests.api.conftest import OPERATORS_TOKEN
    from tests.api.serving import client_of

    assert isinstance(settings, Settings)
    narrow = settings.model_copy(update={"max_queued_per_owner": 2})
    with client_of(create_app(narrow, SilentDoorbell())) as client:
        client.headers["Authorization"] = f"Bearer {OPERATORS_TOKEN}"
        answers = [client.post("/v1/jobs", json=a_job()).status_code for _ in range(3)]
        response = client.post("/v1/jobs", json=a_job())
    assert answers == [202, 202, 429]
    assert (response.json()["code"], response.headers["retry-after"]) == ("quota_exceeded", "5")
