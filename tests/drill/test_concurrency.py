"""Many clients, schedulers, reapers and relays at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import httpx
import orjson
import pytest
from sqlalchemy import text

from normlab.specs.jobs import JobSpec
from service.jobs import leases, submissions
from service.jobs.doorbell import Relay, SilentDoorbell
from service.jobs.leases import Lease
from service.jobs.reaper import Reaper
from service.store.database import Database

TOKEN = "a-token-for-this-test-alone"
JOBS = 1000
CLIENTS = 16


@pytest.fixture
def api(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[str]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("NORMLAB_")},
        "NORMLAB_DATABASE_URL": database_url,
        "NORMLAB_BROKER_URL": broker_url,
        "NORMLAB_DATA_DIR": str(tmp_path),
        "NORMLAB_TOKEN": TOKEN,
        "NORMLAB_PORT": "0",
        "NORMLAB_LOG_LEVEL": "error",
        "NORMLAB_READ_TIMEOUT_S": "60",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api"], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    url: str = orjson.loads(process.stdout.readline())["url"]
    yield url
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_a_thousand_jobs_of_which_half_are_sent_twice_are_a_thousand(
    api: str, database: Database
) -> None:
    keys = [f"key-{n}" for n in range(JOBS)]
    sent = keys + keys[: JOBS // 2]
    Random(7).shuffle(sent)

    def client(mine: list[str]) -> list[tuple[str, str]]:
        with httpx.Client(
            base_url=f"{api}/v1", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
        ) as http:
            return [(key, _submit(http, key)) for key in mine]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [a for part in pool.map(client, _dealt(sent)) for a in part]

    assert len(answers) == len(sent)
    assert len({job for _, job in answers}) == JOBS
    assert len(set(answers)) == JOBS  # the same key gave the same job
    with database.begin() as connection:
        assert connection.execute(text("select count(*) from job")).scalar_one() == JOBS


def _dealt(sent: list[str]) -> list[list[str]]:
    return [sent[n::CLIENTS] for n in range(CLIENTS)]


def _submit(http: httpx.Client, key: str) -> str:
    spec = {"normalizer": "batch", "epochs": 0, "seed": int(key.split("-")[1]), "device": "cpu"}
    answer = http.post("/jobs", json=spec, headers={"Idempotency-Key": key})
    assert answer.status_code in (200, 202), answer.text
    job: str = answer.json()["id"]
    return job


def test_schedulers_reapers_and_relays_in_pairs_do_each_thing_once(database: Database) -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", "epochs": 0, "max_attempts": 2})
    for _ in range(60):
        submissions.submit(
            database, spec, owner="me", device="cpu", device_reason="it is asked for"
        )
    bells = [SilentDoorbell(), SilentDoorbell()]
    relays = [Relay(database, bell, ring_s=0) for bell in bells]
    reapers = [Reaper(database, lease_s=0, clock=lambda: 1.0) for _ in range(2)]
    claims: list[Lease] = []
    stop = threading.Event()

    def keep(work: Relay | Reaper) -> None:
        while not stop.is_set():
            work.round()

    def claim_all(worker: str) -> None:
        while (claim := leases.claim(database, "cpu", worker, lease_s=60)) is not None:
            claims.append(claim)

    helpers = [threading.Thread(target=keep, args=[each]) for each in [*relays, *reapers]]
    workers = [threading.Thread(target=claim_all, args=[f"worker-{n}"]) for n in range(4)]
    for thread in [*helpers, *workers]:
        thread.start()
    for thread in workers:
        thread.join()
    with database.begin() as connection:  # all workers become silent at once
        connection.execute(text("update job set lease_until = clock_timestamp()"))
    while _queued(database) < 60:
        assert all(helper.is_alive() for helper in helpers)
    stop.set()
    for helper in helpers:
        helper.join()

    assert Counter(claim.job for claim in claims).most_common(1)[0][1] == 1
    assert len(claims) == 60
    with database.begin() as connection:
        lost = connection.execute(text("select count(*) from attempt where outcome = 'lost'"))
        assert lost.scalar_one() == 60


def _queued(database: Database) -> int:
    with database.begin() as connection:
        return int(
            connection.execute(text("select count(*) from job where state = 'queued'")).scalar_one()
        )
