"""The doorbell, which wakes workers, and the relay, which rings it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celery import Celery
from sqlalchemy import text
from structlog.testing import capture_logs

from service.jobs import workers
from service.jobs.doorbell import CeleryDoorbell, Relay, SilentDoorbell, broker, make_doorbell
from service.store.database import Database
from tests.service.work import claim, submit


def _live_worker(database: Database, name: str = "w", slots: int = 1, busy: int = 0) -> None:
    workers.beat(
        database,
        worker=name,
        device="cpu",
        hostname="host",
        slots=slots,
        busy=busy,
        description="a CPU",
        memory_bytes=2**34,
        versions={"torch": "2.13.0"},
    )


def _age(database: Database, seconds: float) -> None:
    with database.begin() as connection:
        older = "created_at = created_at - :s, rung_at = rung_at - :s"
        values = {"s": f"{seconds} s"}
        connection.execute(
            text(f"update job set {older}".replace(":s", "cast(:s as interval)")), values
        )


def test_a_celery_worker_understands_the_ring(broker_url: str) -> None:
    app = Celery(broker=broker_url)
    app.conf.worker_hijack_root_logger = False
    doorbell = CeleryDoorbell(broker_url)
    doorbell.ring("cpu")
    with app.connection_for_read() as connection, connection.SimpleQueue("cpu") as queue:
        message = queue.get(timeout=60)
        message.ack()
    doorbell.close()
    assert message.headers["task"] == "jobs.ring"
    assert message.payload[:2] == [[], {}]


def test_rings_to_an_unreachable_broker_fail_silently_and_one_of_them_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.doorbell._DEAF_S", 3600.0)
    doorbell = CeleryDoorbell(f"redis+socket://{tmp_path}/nobody.sock")
    with capture_logs() as logged:
        for _ in range(100):
            doorbell.ring("cpu")
    assert [line["event"] for line in logged] == ["doorbell_failed"]
    assert "does not answer" in str(doorbell.trouble())


def test_a_broker_that_is_back_is_rung_again(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.doorbell._DEAF_S", 0.0)
    doorbell = CeleryDoorbell(broker_url)
    doorbell.ring("cpu")
    doorbell._connection.default_channel.client.connection_pool.disconnect()
    doorbell.ring("cpu")
    doorbell.ring("cpu")
    path = broker_url.removeprefix("redis+socket://")
    with redis.Redis(unix_socket_path=path) as connection:
        assert connection.llen("cpu") >= 2
    assert doorbell.trouble() is None
    doorbell.close()


def test_a_folder_can_be_the_broker(tmp_path: Path) -> None:
    doorbell = CeleryDoorbell(f"filesystem://{tmp_path}")
    doorbell.ring("cpu")
    assert [file.name.split(".")[-2] for file in tmp_path.glob("*.msg")] == ["cpu"]
    assert broker(f"filesystem://{tmp_path}")[1]["data_folder_in"] == str(tmp_path)
    doorbell.close()


def test_without_a_broker_nothing_rings_and_nothing_fails() -> None:
    doorbell = make_doorbell(None)
    doorbell.ring("cpu")
    assert doorbell.trouble() is None


def test_the_doorbell_imports_neither_celery_nor_torch() -> None:
    code = "import sys, service.jobs.doorbell; print({'celery', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unclaimed_job_is_rung_again_after_each_wait(
    database: Database,
) -> None:
    doorbell = SilentDoorbell()
    relay = Relay(database, doorbell, ring_s=5)
    _live_worker(database)
    submit(database)
    assert relay.round() == 0  # it was rung when it was submitted
    _age(database, 6)
    assert relay.round() == 1
    assert relay.round() == 0
    _age(database, 6)
    assert relay.round() == 1
    assert doorbell.rung == ["cpu", "cpu"]


def test_only_idle_workers_are_rung(database: Database) -> None:
    doorbell = SilentDoorbell()
    for _ in range(5):
        submit(database)
    _age(database, 60)
    assert Relay(database, doorbell, ring_s=5).round() == 0
    _live_worker(database, "busy", slots=2, busy=2)
    assert Relay(database, doorbell, ring_s=5).round() == 0
    _live_worker(database, "idle", slots=3, busy=1)
    assert Relay(database, doorbell, ring_s=5).round() == 2


def test_a_running_job_is_not_rung(database: Database) -> None:
    _live_worker(database)
    submit(database)
    claim(database)
    _age(database, 60)
    assert Relay(database, SilentDoorbell(), ring_s=5).round() == 0
