"""A job process whose data are a stream: its readers end with it, however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from normlab.events import CheckpointWritten, Failed, Finished
from tests.normlab.data.stored_pictures import write
from workers.process import JobProcess, Launcher
from workers.warm_launcher import WarmLauncher

from .conftest import make_order, read_to_the_end, read_until
from .test_job_process import _gone

STREAMED: dict[str, Any] = {
    "normalizer": "batch",
    "model": {"name": "convnet", "width": 4},
    "dataset": {"name": "image_folder", "folder": "pets", "image_size": 32},
    "batch_size": 8,
    "threads": 1,
    "epochs": 100_000,
    "checkpoint": {"every_steps": 20, "every_s": 3600},
    "loading": {"mode": "stream", "workers": 2},
}


def readers(process: JobProcess) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def started(launcher: Launcher, folder: Path) -> JobProcess:
    write(folder / "datasets", "image_folder")
    process = launcher.start(make_order(folder, STREAMED))
    read_until(process, "progress")
    return process


def test_the_readers_of_a_killed_job_die_with_it(launcher: Launcher, tmp_path: Path) -> None:
    process = started(launcher, tmp_path)
    known = readers(process)
    assert len(known) >= 2
    os.kill(process.pid, signal.SIGKILL)  # this process alone, not its group
    assert all(_gone(reader.pid) for reader in known)
    process.close()


def test_a_drained_job_writes_its_checkpoint_although_its_group_got_the_signal(
    warm: WarmLauncher, tmp_path: Path
) -> None:
    process = started(warm, tmp_path)
    known = readers(process)
    os.killpg(process.pid, signal.SIGTERM)
    events, log = read_to_the_end(process)
    process.close()
    checkpoint, last = events[-2:]
    assert isinstance(checkpoint, CheckpointWritten), log
    assert isinstance(last, Failed)
    assert last.code == "job_drained"
    assert all(_gone(reader.pid) for reader in known)


def test_a_job_whose_reader_was_killed_is_worth_another_attempt(
    warm: WarmLauncher, tmp_path: Path
) -> None:
    process = started(warm, tmp_path)
    os.kill(readers(process)[0].pid, signal.SIGKILL)
    events, log = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Failed), log
    assert (events[-1].code, events[-1].retryable) == ("reader_lost", True)
    assert "loading.workers" in events[-1].message


def test_replicas_share_a_stream_as_they_share_data_in_memory(
    warm: WarmLauncher, tmp_path: Path
) -> None:
    write(tmp_path / "datasets", "image_folder")
    losses = []
    for mode in ("memory", "stream"):
        spec = {**STREAMED, "replicas": 2, "batch_size": 4, "epochs": 1}
        spec["loading"] = {"mode": mode, "workers": 1}
        root = str(tmp_path / "datasets")
        process = warm.start(make_order(tmp_path / mode, spec, threads=2, data_root=root))
        events, log = read_to_the_end(process)
        process.close()
        assert isinstance(events[-1], Finished), log
        losses.append(events[-1].summary["train/loss"])
    assert losses[0] == losses[1]
