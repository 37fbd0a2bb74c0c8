"""Job processes with several replicas: how they end, and that no process is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from normlab.events import (
    AnyEvent,
    ArtifactWritten,
    CheckpointWritten,
    Failed,
    Finished,
    Metrics,
    Started,
)
from tests.processes import all_end
from workers.job_order import CheckpointReference
from workers.process import FreshLauncher, JobProcess, Launcher
from workers.replicas import Word, last_word

from .conftest import LONG, SHORT, make_order, read_to_the_end, read_until

# torch 2.0 itself uses it when it reads a file
pytestmark = pytest.mark.filterwarnings("ignore:TypedStorage")
# A kind whose statistics depend on its own samples, so a resumed replica needs its own state.
PAIR: dict[str, Any] = {
    **LONG,
    "normalizer": "online",
    "batch_size": 8,
    "replicas": 2,
    "max_steps": 60,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "checkpoint": {"every_steps": 20, "every_s": 3600, "keep": 5},
}
PAIR_OF_MANY_STEPS = {**PAIR, "max_steps": None}

DONE = Finished(step=3, summary={})
DRAINED = Failed(code="job_drained", failure_kind="lost", retryable=True, message="leaves")
OOM = Failed(code="out_of_device_memory", failure_kind="oom", retryable=False, message="full")
BUG = Failed(code="unexpected", failure_kind="user", retryable=False, message="peer closed")


def word(end: Finished | Failed, at: float = 0.0, lost_peer: bool = False) -> Word:
    return Word(at=at, end=end, lost_peer=lost_peer)


def test_the_first_replica_reports_for_all_that_finished() -> None:
    assert last_word(2, {0: word(DONE, 2), 1: word(DONE, 1)}, {}, 0) == DONE


def test_the_earliest_failure_is_that_of_the_attempt() -> None:
    words = {0: word(BUG, 2), 1: word(OOM, 1)}
    assert last_word(2, words, {0: 1}, 0) == OOM


def test_an_own_failure_counts_before_that_of_a_lost_peer() -> None:
    words = {0: word(BUG, 1, lost_peer=True), 1: word(OOM, 2)}
    assert last_word(2, words, {0: 1}, 0) == OOM


@pytest.mark.parametrize(("kills", "kind"), [(0, "lost"), (1, "oom")])
def test_a_replica_that_died_without_a_message_is_named(kills: int, kind: str) -> None:
    words = {0: word(BUG, lost_peer=True)}
    found = last_word(2, words, {1: -signal.SIGKILL}, kills)
    assert isinstance(found, Failed)
    assert found.failure_kind == kind
    assert found.message.startswith("replica 1 of 2 died")


def test_a_drain_counts_even_if_one_replica_was_too_slow_to_report_it() -> None:
    assert last_word(2, {0: word(DRAINED)}, {1: -signal.SIGKILL}, 0) == DRAINED


def _points(events: list[AnyEvent], name: str) -> dict[int, float]:
    series = [e.series[name] for e in events if isinstance(e, Metrics) and name in e.series]
    return {step: value for s in series for step, value in zip(s.steps, s.values)}


def _checkpoints(events: list[AnyEvent]) -> list[CheckpointReference]:
    written = [e for e in events if isinstance(e, CheckpointWritten)]
    return [CheckpointReference(step=w.step, path=w.path, sha256=w.sha256) for w in written[::-1]]


def _session(checkpoint: CheckpointReference) -> Any:
    return torch.load(checkpoint.path, weights_only=True)["state"]["session"]


def _family(process: JobProcess) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children()]


def test_a_killed_replica_ends_the_attempt_and_the_next_ends_with_the_same_numbers(
    fresh: FreshLauncher, warm: Launcher, tmp_path: Path
) -> None:
    process = warm.start(make_order(tmp_path / "whole", PAIR, threads=2))
    whole, log = read_to_the_end(process)
    process.close()
    assert isinstance(whole[-1], Finished), log
    assert whole[-1].summary["replicas"] == 2

    process = warm.start(make_order(tmp_path / "killed", PAIR_OF_MANY_STEPS, threads=2))
    events = read_until(process, "checkpoint")
    family = _family(process)
    family[2].kill()
    rest, log = read_to_the_end(process)
    process.close()
    failed = rest[-1]
    assert isinstance(failed, Failed), log
    assert (failed.failure_kind, failed.retryable) == ("lost", True)
    assert "replica 1 of 2 died" in failed.message
    assert "SIGKILL" in failed.message
    assert all_end(family)

    # Resume from the first checkpoint of the whole run, in new processes with other addresses.
    first = _checkpoints(whole)[-1]
    process = fresh.start(make_order(tmp_path / "again", PAIR, threads=2, resume=[first]))
    resumed, log = read_to_the_end(process)
    process.close()
    assert isinstance(resumed[-1], Finished), log
    assert isinstance(resumed[0], Started)
    assert resumed[0].step == first.step
    expected = _points(whole, "train/loss")
    found = _points(resumed, "train/loss")
    assert found == {step: loss for step, loss in expected.items() if step > first.step}
    states = [_session(_checkpoints(e)[0]) for e in (resumed, whole)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert events


def test_replicas_start_from_the_same_weights_and_freeze_the_same_parts(
    warm: Launcher, tmp_path: Path
) -> None:
    source = warm.start(make_order(tmp_path / "source", {**SHORT, "normalizer": "group"}))
    events, _ = read_to_the_end(source)
    source.close()
    file = next(e for e in events if isinstance(e, ArtifactWritten))
    start = {"sha256": file.sha256, "normalizers": "swap"}
    spec = {**PAIR, "max_steps": 20, "init_from": start, "freeze": ["0.*"]}
    process = warm.start(make_order(tmp_path / "pair", spec, threads=2, weights=file.path))
    events, log = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Finished), log
    assert isinstance(events[0], Started)
    assert events[0].environment["frozen"] == ["0.weight"]
    ended = next(e for e in events if isinstance(e, ArtifactWritten))
    before, after = load_file(file.path), load_file(ended.path)
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["2.weight"], before["2.weight"])


def test_replicas_asked_to_stop_write_a_checkpoint_and_give_the_reason(
    warm: Launcher, tmp_path: Path
) -> None:
    process = warm.start(make_order(tmp_path, PAIR_OF_MANY_STEPS, threads=2))
    read_until(process, "progress")
    family = _family(process)
    process.ask_to_stop("cancelled")
    events, log = read_to_the_end(process)
    process.close()
    checkpoint, last = events[-2:]
    assert isinstance(checkpoint, CheckpointWritten), log
    assert isinstance(last, Failed)
    assert (last.code, process.poll()) == ("job_cancelled", 0)
    assert len(family) == 3
    assert all_end(family)


def test_sigterm_drains_all_replicas(warm: Launcher, tmp_path: Path) -> None:
    process = warm.start(make_order(tmp_path, PAIR_OF_MANY_STEPS, threads=2))
    read_until(process, "progress")
    os.kill(process.pid, signal.SIGTERM)
    events, log = read_to_the_end(process)
    process.close()
    assert any(isinstance(e, CheckpointWritten) for e in events), log
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, events[-1].retryable) == ("job_drained", True)


@pytest.mark.parametrize("how", ["the supervisor lets go", "the parent is killed"])
def test_no_replica_outlives_its_job(how: str, warm: Launcher, tmp_path: Path) -> None:
    process = warm.start(make_order(tmp_path, PAIR_OF_MANY_STEPS, threads=2))
    read_until(process, "started")
    family = _family(process)
    if how == "the parent is killed":
        family[0].kill()
        assert all_end(family)
    process.close()
    assert len(family) == 3
    assert all_end(family)


def test_a_replica_without_enough_memory_fails_the_job_as_out_of_memory(
    warm: Launcher, tmp_path: Path
) -> None:
    hungry = {**SHORT, "model": {"name": "convnet", "width": 4096}, "replicas": 2}
    process = warm.start(make_order(tmp_path, hungry, memory_bytes=2 << 30))
    events, log = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Failed), log
    assert (events[-1].failure_kind, events[-1].retryable) == ("oom", False)
