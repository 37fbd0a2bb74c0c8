"""The faults: each breaks one thing, waits until the jobs recover, and repairs what it broke."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import httpx

from service.jobs import doorbell
from tests.drill.drill_stack import GRACE_S, HEARTBEAT_S, LEASE_S, REAP_S, DrillStack, Worker
from tests.drill.load import ORDINARY, STEPS_BETWEEN_CHECKPOINTS, Load
from tests.drill.observer import Observer, Running

# The job of a silent worker is requeued when its lease has expired and the reaper runs.
SILENCE_S = LEASE_S + REAP_S
# The longest outage of the database: more than a lease.
OUTAGE_S = 1.5 * LEASE_S

# The time for a job that ended in the outage: the longest pause by then, and a job's own time.
STORED_WITHIN_S = 2 * OUTAGE_S + 10


@dataclass
class Drill:
    """The context of a fault."""

    stack: DrillStack
    load: Load
    observer: Observer
    random: Random
    notice_s: float
    """Added to each limit: the time that busy cores may need to notice anything."""
    snapshots: list[tuple[Running, int]] = field(default_factory=list)
    """Attempts that lost their job while frozen, and their number of stored points by then."""


@dataclass(frozen=True)
class Outcome:
    """The effect of a fault: the jobs it hit, their time of recovery, and its limit."""

    jobs: tuple[str, ...]
    recovery_s: float | None
    limit_s: float | None = None

    @property
    def late(self) -> bool:
        """Whether recovery took too long or never happened."""
        if self.recovery_s is None:
            return True
        return self.limit_s is not None and self.recovery_s > self.limit_s


def kill_job_process(drill: Drill) -> Outcome:
    """SIGKILL the process of one job; its supervisor notices at once."""
    victim, pid = _some_process(drill)
    _kill(pid)
    return _outcome([victim], drill.observer.until_over([victim]), drill.notice_s)


def kill_pack(drill: Drill) -> Outcome:
    """SIGKILL the process of a pack; its members return as a pack, or continue alone."""
    members = _some_pack(drill)
    pids = [drill.stack.process_of(member.job, member.attempt) for member in members]
    while None in pids:  # the worker has not logged them yet
        time.sleep(0.02)
        pids = [drill.stack.process_of(member.job, member.attempt) for member in members]
    time.sleep(drill.random.uniform(0, 2))
    _kill(next(pid for pid in pids if pid is not None))
    return _outcome(members, drill.observer.until_over(members), drill.notice_s)


def kill_worker(drill: Drill) -> Outcome:
    """SIGKILL a worker with its supervisors and their jobs."""
    worker, victims = _busy_worker(drill)
    drill.stack.stop_worker(worker, signal.SIGKILL)
    drill.stack.start_worker()
    return _outcome(victims, drill.observer.until_over(victims), SILENCE_S + drill.notice_s)


def kill_all_workers(drill: Drill) -> Outcome:
    """SIGKILL every worker at once."""
    victims = drill.observer.until_running()
    for worker in list(drill.stack.workers):
        drill.stack.stop_worker(worker, signal.SIGKILL)
    recovery = drill.observer.until_over(victims)
    for _ in range(2):
        drill.stack.start_worker()
    return _outcome(victims, recovery, SILENCE_S + drill.notice_s)


def lose_redis(drill: Drill) -> Outcome:
    """Kill Redis and delete its data; a job submitted in the meantime is found by polling."""
    running = drill.observer.until_running()
    drill.stack.crash_redis()
    job = drill.load.submit(priority=10)
    _pause(drill, LEASE_S)
    drill.stack.start_redis()
    recovery = drill.observer.until(lambda: drill.observer.state(job)[1] > 0)
    return Outcome((job, *(r.job for r in running)), recovery)


def crash_postgres(drill: Drill) -> Outcome:
    """Stop PostgreSQL immediately, for longer than a lease; no running job loses its attempt."""
    running = drill.observer.until_running()
    drill.stack.crash_postgres()
    time.sleep(OUTAGE_S)
    drill.stack.start_postgres()
    recovery = drill.observer.until(drill.observer.leases_hold)
    return _outcome(running, recovery, LEASE_S + drill.notice_s)


def kill_api(drill: Drill) -> Outcome:
    """Kill the API while jobs are being submitted; the client repeats with the same keys."""
    jobs: list[str] = []
    clients = [threading.Thread(target=lambda: jobs.append(drill.load.submit())) for _ in range(3)]
    for client in clients:
        client.start()
    time.sleep(drill.random.uniform(0, 0.03))
    drill.stack.kill_api()
    began = time.monotonic()
    drill.stack.start_api()
    for client in clients:
        client.join()
    return Outcome(tuple(jobs), time.monotonic() - began)


def ring_five_times(drill: Drill) -> Outcome:
    """Deliver five messages for one job."""
    job = drill.load.submit()
    bell = doorbell.CeleryDoorbell(drill.stack.redis.broker_url)
    for _ in range(5):
        bell.ring("cpu")
    bell.close()
    return Outcome((job,), drill.observer.until(lambda: drill.observer.state(job)[1] > 0))


def freeze_worker(drill: Drill) -> Outcome:
    """Freeze a worker and its jobs until other workers have the jobs, then wake it."""
    worker, victims = _busy_worker(drill)
    worker.signal_all(signal.SIGSTOP)
    victims = [v for v in victims if not drill.observer.is_over(v)]
    recovery = drill.observer.until_over(victims)
    if recovery is not None:
        drill.snapshots += [(victim, drill.observer.points(victim)) for victim in victims]
    worker.signal_all(signal.SIGCONT)
    return _outcome(victims, recovery, SILENCE_S + drill.notice_s)


def poison(drill: Drill) -> Outcome:
    """A job whose process dies in every attempt; it fails and affects no other job."""
    job = drill.load.submit(ends=("failed",), max_attempts=3, priority=10, epochs=100_000)
    killed = 0

    def kill_the_next() -> bool:
        nonlocal killed
        state, attempt = drill.observer.state(job)
        pid = drill.stack.process_of(job, attempt) if attempt > killed else None
        if pid is not None:
            _kill(pid)
            killed = attempt
        return state == "failed"

    return Outcome((job,), drill.observer.until(kill_the_next, 120))


def run_out_of_memory(drill: Drill) -> Outcome:
    """A job that does not fit into memory; it fails at once and is not retried."""
    wide = {"name": "convnet", "width": 4096}
    job = drill.load.submit(ends=("failed",), model=wide, max_attempts=3, priority=10)
    return Outcome((job,), drill.observer.until(lambda: drill.observer.state(job)[0] == "failed"))


def cancel(drill: Drill) -> Outcome:
    """Cancel a job at a random moment: queued, starting, running or finishing."""
    return _cancel(drill, drill.load.submit(ends=("cancelled", "succeeded")))


def cancel_member(drill: Drill) -> Outcome:
    """Cancel a member of a pack at a random moment; the others end well."""
    return _cancel(drill, drill.load.submit_pack(("cancelled", "succeeded"))[0])


def _cancel(drill: Drill, job: str) -> Outcome:
    time.sleep(drill.random.uniform(0, 4))
    while True:
        try:
            answer = drill.stack.client.post(f"/jobs/{job}/cancel")
        except httpx.TransportError:
            continue
        if answer.status_code < 500:
            break
    recovery = drill.observer.until(
        lambda: drill.observer.state(job)[0] in ("cancelled", "succeeded")
    )
    return Outcome((job,), recovery, HEARTBEAT_S + GRACE_S + drill.notice_s)


def fill_disk(drill: Drill) -> Outcome:
    """Fill the disk while a job writes its checkpoints; it is retried and succeeds."""
    job = drill.load.submit(priority=10)
    folder = drill.stack.job_folder(job, 1) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    steps = 100 * int(ORDINARY["epochs"])
    for step in range(0, steps, STEPS_BETWEEN_CHECKPOINTS):
        # The kernel itself answers writes to this device with ENOSPC.
        (folder / f"step-{step:09d}.part").symlink_to("/dev/full")
    return Outcome((job,), drill.observer.until(lambda: drill.observer.state(job)[1] > 1))


def drain_worker(drill: Drill) -> Outcome:
    """SIGTERM a worker; its jobs write a checkpoint and return to the queue."""
    worker, victims = _busy_worker(drill)
    drill.stack.start_worker()
    began = time.monotonic()
    drill.stack.stop_worker(worker, signal.SIGTERM)
    took = time.monotonic() - began
    over = drill.observer.until_over(victims)
    return _outcome(victims, None if over is None else took + over, GRACE_S + drill.notice_s)


def lose_bucket(drill: Drill) -> Outcome:
    """Break all connections to the bucket, for longer than a lease; no job loses its attempt."""
    bucket = drill.stack.bucket
    assert bucket is not None
    running = drill.observer.until_running()
    bucket.gate.shut()
    job = drill.load.submit(priority=10)
    time.sleep(OUTAGE_S)
    held = all(drill.observer.state(r.job)[1] == r.attempt for r in running)
    bucket.gate.open()
    recovery = drill.observer.until(lambda: drill.observer.state(job)[0] == "succeeded")
    jobs = [*(r.job for r in running), job]
    return Outcome(tuple(jobs), recovery if held else None, STORED_WITHIN_S + drill.notice_s)


FAULTS: dict[str, Callable[[Drill], Outcome]] = {
    "job process killed": kill_job_process,
    "process of a pack killed": kill_pack,
    "worker killed": kill_worker,
    "all workers killed": kill_all_workers,
    "Redis lost with its data": lose_redis,
    "PostgreSQL crashed": crash_postgres,
    "API killed mid-submit": kill_api,
    "message delivered 5 times": ring_five_times,
    "worker frozen and woken": freeze_worker,
    "poisoned job": poison,
    "out of memory": run_out_of_memory,
    "cancelled at random": cancel,
    "member of a pack cancelled": cancel_member,
    "disk full": fill_disk,
    "worker drained": drain_worker,
    "bucket vanishes": lose_bucket,
}
_PACKS_TRIED = 10
_NOT_WITH_A_BUCKET = ("disk full",)  # nobody knows the scratch folder before
_ONLY_WITH_A_BUCKET = ("bucket vanishes",)


def faults_of(*, bucket: bool) -> list[str]:
    """Return the faults that a stack with a bucket, or with a folder, can have."""
    impossible = _NOT_WITH_A_BUCKET if bucket else _ONLY_WITH_A_BUCKET
    return [name for name in FAULTS if name not in impossible]


def _some_process(drill: Drill) -> tuple[Running, int]:
    while True:
        victim = drill.random.choice(drill.observer.until_running())
        pid = drill.stack.process_of(victim.job, victim.attempt)
        if pid is not None and not drill.observer.is_over(victim):
            return victim, pid
        time.sleep(0.02)


def _some_pack(drill: Drill) -> list[Running]:
    for _ in range(_PACKS_TRIED):
        if members := drill.observer.until_packed(drill.load.submit_pack(priority=10)):
            return members
    raise RuntimeError(f"the cells of {_PACKS_TRIED} studies were all trained alone")


def _busy_worker(drill: Drill) -> tuple[Worker, list[Running]]:
    known = {worker.tag: worker for worker in drill.stack.workers}

    def is_ours(attempt: Running) -> bool:
        return any(tag in attempt.worker for tag in known)

    chosen = drill.random.choice(drill.observer.until_running(is_ours))
    worker = next(worker for tag, worker in known.items() if tag in chosen.worker)
    return worker, [r for r in drill.observer.running() if worker.tag in r.worker]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
        os.kill(pid, signal.SIGKILL)


def _pause(drill: Drill, most_s: float) -> None:
    time.sleep(drill.random.uniform(0.5, most_s))


def _outcome(victims: list[Running], recovery_s: float | None, limit_s: float) -> Outcome:
    return Outcome(tuple(v.job for v in victims), recovery_s, limit_s)
