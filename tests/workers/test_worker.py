"""A real worker with Celery, slots and job processes, a real database and a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from normlab.records import JobDetail
from normlab.specs.studies import StudySpec
from service.jobs import changes, workers
from service.jobs.doorbell import Relay
from service.loops import Loop
from service.results import metrics
from service.studies import details, studies
from tests.processes import command_of, has_ended

from .conftest import LONG, NOTHING, SHORT
from .floor import Floor


def _jobs_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(worker.pid).children(recursive=True)
    return [c for c in children if "workers.job" in command_of(c)]


def test_the_celery_process_never_imports_torch() -> None:
    script = "import sys, workers.app, workers.worker; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.stdout.strip() == b"False"


def test_a_worker_without_a_database_says_what_is_missing() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NORMLAB_")}
    done = subprocess.run([sys.executable, "-m", "workers"], capture_output=True, env=environment)
    assert done.returncode == 2
    assert b"NORMLAB_DATABASE_URL" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_ring_starts_a_job_and_five_rings_start_it_once(floor: Floor) -> None:
    floor.hire(slots=2)
    job = floor.submit(SHORT, rings=5)
    record = floor.until_state(job, "succeeded")
    assert record.attempt == 1
    assert metrics.read(floor.database, job, "train/loss").steps == list(range(1, 21))


def test_slots_that_look_for_work_at_once_do_not_split_packs(floor: Floor) -> None:
    spec = StudySpec.model_validate({"name": "s", "base": NOTHING, "seeds": 16, "pack": 4})
    how: dict[str, Any] = {"place": lambda _: ("cpu", "it is asked for"), "check": lambda _: []}
    record, _ = studies.create(floor.database, spec, owner="me", **how)
    cells = details.list_cells(floor.database, record.id).cells
    floor.hire(slots=4)
    packed = {floor.until_state(cell.job or "", "succeeded").packed for cell in cells}
    assert packed == {4}


def test_rings_find_the_idle_worker_among_busy_ones(floor: Floor) -> None:
    floor.hire()
    floor.hire()
    long = floor.submit(LONG)
    floor.until_state(long, "running")
    # Each of them must reach the idle worker, whichever worker gets the message first.
    for _ in range(4):
        floor.until_state(floor.submit(NOTHING), "succeeded")
    assert floor.job(long).state == "running"


def test_a_worker_without_a_broker_finds_work_by_polling(floor: Floor) -> None:
    floor.hire(NORMLAB_BROKER_URL="", NORMLAB_POLL_S=0.2)
    job = floor.submit(NOTHING, rings=0)
    floor.until_state(job, "succeeded")


def test_a_lost_message_is_rung_again(floor: Floor) -> None:
    floor.hire()
    job = floor.submit(NOTHING, rings=0)
    loop = Loop("relay", Relay(floor.database, floor.bell, ring_s=0.2).round, 0.1)
    loop.start()
    floor.until_state(job, "succeeded")
    loop.stop()


def goes_on(floor: Floor, job: str) -> JobDetail:
    """Cancel an endless *job* once its second attempt learns; return it with each update once."""
    floor.until(lambda: floor.job(job).attempt == 2)
    before = floor.job(job).step
    floor.until(lambda: floor.job(job).step > before)
    changes.cancel(floor.database, job)
    record = floor.until_state(job, "cancelled")
    steps = metrics.read(floor.database, job, "train/loss").steps
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= record.step > before
    return record


def test_sigterm_drains_and_another_worker_continues(floor: Floor) -> None:
    first = floor.hire()
    job = floor.submit(LONG)
    floor.until_learning(job)
    first.terminate()
    assert first.wait(240) == 0
    record = floor.job(job)
    assert (record.state, record.attempts[0].outcome) == ("queued", "released")
    assert not workers.live(floor.database)
    floor.hire()
    floor.bell.ring("cpu")
    record = goes_on(floor, job)
    assert [a.outcome for a in record.attempts] == ["released", "cancelled"]
    assert record.attempts[1].resumed_from_step > 0


@pytest.mark.usefixtures("reaper")
def test_the_job_of_a_killed_worker_ends_with_it_and_another_resumes_it(floor: Floor) -> None:
    first = floor.hire()
    job = floor.submit(LONG)
    floor.until_learning(job)
    (running,) = _jobs_of(first)
    first.kill()
    floor.until(lambda: has_ended(running))
    floor.until_state(job, "queued")
    floor.hire()
    floor.bell.ring("cpu")
    record = goes_on(floor, job)
    assert [a.outcome for a in record.attempts] == ["lost", "cancelled"]


@pytest.mark.usefixtures("reaper")
def test_a_frozen_worker_that_wakes_writes_nothing(floor: Floor) -> None:
    frozen = floor.hire()
    job = floor.submit(LONG)
    floor.until_learning(job)
    (zombie,) = _jobs_of(frozen)
    frozen.send_signal(signal.SIGSTOP)
    floor.until_state(job, "queued")
    floor.hire()
    floor.bell.ring("cpu")
    floor.until(lambda: floor.job(job).attempt == 2)
    frozen.send_signal(signal.SIGCONT)
    floor.until(lambda: has_ended(zombie))
    record = goes_on(floor, job)
    assert [a.outcome for a in record.attempts] == ["lost", "cancelled"]
    assert frozen.poll() is None


def test_a_killed_job_process_leaves_its_worker_unharmed(floor: Floor) -> None:
    worker = floor.hire()
    job = floor.submit(LONG, max_attempts=1)
    floor.until_learning(job)
    (running,) = _jobs_of(worker)
    running.kill()
    assert floor.until_state(job, "failed").attempts[0].outcome == "lost"
    floor.until_state(floor.submit(NOTHING), "succeeded")


def test_a_worker_describes_itself(floor: Floor) -> None:
    floor.hire(slots=3)
    worker = floor.until_live(lambda worker: "torch" in worker.versions)
    facts = workers.facts(floor.database)[worker.id]
    assert (worker.device, worker.slots, worker.busy) == ("cpu", 3, 0)
    assert facts["disk_free_bytes"] > 0
    assert facts["memory_available_bytes"] > 0
    assert abs(facts["clock_offset_s"]) < 1


def test_the_first_jobs_of_a_worker_are_forks_of_its_warm_host(floor: Floor) -> None:
    worker = floor.hire(slots=2, NORMLAB_WARM_HOST=1)
    jobs = [floor.submit(LONG) for _ in range(2)]
    for job in jobs:
        floor.until_learning(job)
    assert _jobs_of(worker) == []
    (host,) = psutil.Process(worker.pid).children()
    floor.until(lambda: len(host.children()) == 2)  # the fork that probed the device has ended


def test_jobs_do_not_see_the_services_secrets(floor: Floor) -> None:
    worker = floor.hire()
    job = floor.submit(LONG)
    floor.until_learning(job)
    (running,) = _jobs_of(worker)
    names = set(running.environ())
    changes.cancel(floor.database, job)
    floor.until_state(job, "cancelled")
    assert not {"NORMLAB_DATABASE_URL", "NORMLAB_BROKER_URL", "NORMLAB_TOKEN"} & names


def test_a_worker_trains_the_cells_of_a_study_together(floor: Floor) -> None:
    study = {"name": "s", "base": SHORT, "seeds": 3, "pack": "auto"}
    record, _ = studies.create(
        floor.database,
        StudySpec.model_validate(study),
        owner="me",
        place=lambda _: ("cpu", "it is asked for"),
        check=lambda _: [],
    )
    floor.hire()
    floor.bell.ring("cpu")
    cells = details.list_cells(floor.database, record.id).cells
    jobs = [str(cell.job) for cell in cells]
    done = [floor.until_state(job, "succeeded", "failed") for job in jobs]
    assert [job.state for job in done] == 3 * ["succeeded"]
    assert {job.attempts[0].environment["packed"] for job in done} == {3}
