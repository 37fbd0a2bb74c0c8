"""Jobs whose replicas are on several hosts: real workers in network namespaces."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import torch
from sqlalchemy import text

from normlab.records import AttemptRecord
from service.results import logs, metrics

from .conftest import LONG, NOTHING
from .floor import Floor
from .two_hosts import CannotMake, Host, cut, two_hosts

# Each replica has running statistics of its own samples, so a resumed one needs its own state.
PAIR: dict[str, Any] = {
    **LONG,
    "normalizer": "batch",
    "batch_size": 8,
    "replicas": 2,
    "hosts": 2,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "checkpoint": {"every_steps": 25, "every_s": 3600, "keep": 2},
}
_STEPS = 600
_CHECKPOINT = text(
    "select path from artifact where job = :job and kind = 'checkpoint' order by step desc limit 1"
)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    try:
        with two_hosts() as made:
            yield made
    except CannotMake as e:
        pytest.skip(f"cannot make network namespaces: {e}")


def _hire(floor: Floor, host: Host) -> subprocess.Popen[bytes]:
    return floor.hire(
        inside=host.inside,
        NORMLAB_ADDRESS=host.address,
        NORMLAB_POLL_S=0.5,
        NORMLAB_RETRY_BACKOFF_S=0.1,
    )


def _family(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    parent = psutil.Process(worker.pid)
    return [parent, *parent.children(recursive=True)]


def _kill_host(worker: subprocess.Popen[bytes]) -> None:
    _each(_family(worker), psutil.Process.kill)


def _each(family: list[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself, or with its parent
            act(process)


def _state(floor: Floor, job: str) -> Any:
    with floor.database.begin() as connection:
        path = connection.execute(_CHECKPOINT, {"job": job}).scalar_one()
    return torch.load(floor.jobs / path, weights_only=True)["state"]["session"]


def _until_saved(floor: Floor, job: str, attempt: int) -> AttemptRecord:
    saved = text("select 1 from artifact where job = :job and attempt = :n and kind = 'checkpoint'")

    def seen() -> bool:
        with floor.database.begin() as connection:
            return bool(connection.execute(saved, {"job": job, "n": attempt}).first())

    floor.until(seen)
    return floor.job(job).attempts[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("reaper")
def test_a_job_that_loses_a_member_and_then_its_leader_ends_with_the_bits_of_one_host(
    floor: Floor, hosts: tuple[Host, Host]
) -> None:
    at = {host.address: _hire(floor, host) for host in hosts}
    by_address = {host.address: host for host in hosts}
    job = floor.submit(PAIR, rings=0, max_steps=_STEPS, max_attempts=9)
    for attempt, seat in ((1, 1), (2, 0)):  # first a member is lost, then the leader
        running = _until_saved(floor, job, attempt)
        lost = running.hosts[seat].address
        _kill_host(at[lost])
        floor.until(lambda n=attempt: floor.job(job).attempts[n - 1].ended_at is not None)
        at[lost] = _hire(floor, by_address[lost])
    record = floor.until_state(job, "succeeded", "failed")
    print(record.attempts, logs.read(floor.database, job).text, sep="\n")
    assert [a.outcome for a in record.attempts] == ["lost", "lost", "succeeded"]
    assert all(a.resumed_from_step > 0 for a in record.attempts[1:])
    whole = floor.submit(PAIR, rings=0, hosts=None, max_steps=_STEPS)
    assert floor.until_state(whole, "succeeded", "failed").state == "succeeded"
    losses = [metrics.read(floor.database, one, "train/loss") for one in (job, whole)]
    assert losses[0].steps == list(range(1, _STEPS + 1))
    assert losses[0].values == losses[1].values
    torch.testing.assert_close(_state(floor, job), _state(floor, whole), rtol=0, atol=0)


@pytest.mark.slow
def test_a_cut_cable_ends_the_attempt_although_both_hosts_reach_the_database(
    floor: Floor, hosts: tuple[Host, Host]
) -> None:
    for host in hosts:
        _hire(floor, host)
    job = floor.submit(PAIR, rings=0, max_attempts=1)
    _until_saved(floor, job, 1)
    cut(hosts[0])
    (attempt,) = floor.until_state(job, "failed").attempts
    assert (attempt.outcome, attempt.failure_kind) == ("lost", "lost")


@pytest.mark.slow
def test_a_drained_member_returns_the_job_with_a_checkpoint_and_no_attempt_spent(
    floor: Floor, hosts: tuple[Host, Host]
) -> None:
    at = {host.address: _hire(floor, host) for host in hosts}
    waits = floor.submit(PAIR, rings=0, replicas=3, hosts=3)
    job = floor.submit(PAIR, rings=0)
    running = _until_saved(floor, job, 1)
    member = at[running.hosts[1].address]
    member.terminate()
    assert member.wait(240) == 0
    record = floor.until_state(job, "queued")
    assert [a.outcome for a in record.attempts] == ["released"]
    assert record.waiting_for == "workers for cpu on 2 hosts: 1 of them live now"
    assert floor.job(waits).waiting_for == "workers for cpu on 3 hosts: 1 of them live now"
    floor.until_state(floor.submit(NOTHING, rings=0), "succeeded")  # the other host is free again
