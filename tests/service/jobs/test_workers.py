from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from service.jobs import workers
from service.store.database import Database
from tests.service.work import claim, submit


def _beat(database: Database, worker: str = "w", **changes: Any) -> None:
    said: dict[str, Any] = {
        "device": "cpu",
        "hostname": "host",
        "slots": 2,
        "busy": 1,
        "description": "a CPU",
        "memory_bytes": 2**34,
        "versions": {"torch": "2.13.0"},
        "facts": {"disk_free_bytes": 1},
    }
    workers.beat(database, worker=worker, **{**said, **changes})


def test_a_worker_with_a_heartbeat_is_live(database: Database) -> None:
    _beat(database)
    _beat(database, busy=2)
    (found,) = workers.live(database)
    assert (found.id, found.busy, found.versions) == ("w", 2, {"torch": "2.13.0"})
    assert 0 <= found.last_seen_s < 60
    assert workers.facts(database) == {"w": {"disk_free_bytes": 1}}


def test_a_worker_without_its_device_reports_it(database: Database) -> None:
    _beat(database, "a")
    _beat(database, "b", facts={"able": False, "device": "torch sees no GPU"})
    first, second = workers.live(database)
    assert (first.able, first.why) == (True, "")
    assert (second.able, second.why) == (False, "torch sees no GPU")


@pytest.mark.parametrize("how", ["silent", "left"])
def test_a_silent_or_departed_worker_is_not_live(database: Database, how: str) -> None:
    _beat(database, silence_s=0.0 if how == "silent" else 60.0)
    if how == "left":
        workers.leave(database, "w")
    assert workers.live(database) == []


def test_every_kind_of_device_is_listed_with_its_load_and_a_reason(database: Database) -> None:
    _beat(database)
    submit(database)
    submit(database)
    claim(database)
    cpu, cuda, ipu = workers.devices(database)
    assert (cpu.kind, cpu.available, cpu.queued, cpu.running) == ("cpu", True, 1, 1)
    assert cpu.reason == "1 live, 2 slots in all"
    assert not cuda.available
    assert "python -m workers --device ipu" in ipu.reason


def test_live_workers_are_read_from_the_database_once_for_all_who_ask(database: Database) -> None:
    workers.live(database)  # the connection exists now
    said: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *about: said.append(about[2]))
    workers.live(database)
    assert len(said) == 1
