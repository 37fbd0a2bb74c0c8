"""Many jobs are followed to their ends with one request per look."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from normlab.cli import progress
from normlab.cli.progress import follow
from normlab.client import Client
from normlab.errors import NotFound
from service.store.database import Database
from tests.normlab.cli.apis import api_for

JOB = {"normalizer": "group", "dataset": {"name": "digits"}, "epochs": 1}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path) -> Iterator[Client]:
    here = api_for(monkeypatch, database, tmp_path, "submit")
    with here, Client(os.environ["NORMLAB_URL"], os.environ["NORMLAB_TOKEN"]) as found:
        yield found


def ended(client: Client, count: int) -> list[str]:
    """Queue so many jobs and cancel them; return their ids, the newest first."""
    jobs = [client.submit({**JOB, "seed": seed}).id for seed in range(count)]
    for job in jobs:
        client.cancel(job)
    return jobs[::-1]


def test_jobs_are_returned_in_order_with_all_data(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_AT_ONCE", 2)
    ids = ended(client, 3)
    client.labels.change_job(ids[0], archived=True)
    found = follow(client, ids, quiet=True)
    assert [job.id for job in found] == ids
    assert [job.spec.seed for job in found] == [2, 1, 0]


def test_jobs_that_still_run_are_read_together(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [client.submit({**JOB, "seed": seed}).id for seed in range(3)]
    asked: Counter[str] = Counter()
    send = client.transport.send

    def counting(method: str, path: str, **how: Any) -> Any:
        asked[f"{method} {path}"] += 1
        return send(method, path, **how)

    def end_all(seconds: float) -> None:
        monkeypatch.setattr(client.transport, "send", send)
        for job in ids:
            client.cancel(job)

    monkeypatch.setattr(client.transport, "send", counting)
    monkeypatch.setattr(progress.time, "sleep", end_all)
    follow(client, ids, quiet=True)
    assert asked == {"GET /jobs": 1}


def test_a_job_that_does_not_exist_is_named(client: Client) -> None:
    (known,) = ended(client, 1)
    unknown = known[:-4] + "0000"
    with pytest.raises(NotFound, match=unknown):
        follow(client, [known, unknown], quiet=True)
