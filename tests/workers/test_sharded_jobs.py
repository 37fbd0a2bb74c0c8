"""Job processes whose replicas each hold a part of the model: how they choose, end and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from normlab.events import AnyEvent, ArtifactWritten, CheckpointWritten, Failed, Finished, Started
from workers.job_order import CheckpointReference
from workers.process import FreshLauncher, JobProcess, Launcher

from .conftest import SHORT, make_order, read_to_the_end, read_until

PAIR: dict[str, Any] = {
    **SHORT,
    "normalizer": {"kind": "batch", "sync": True},
    "batch_size": 8,
    "replicas": 2,
    "max_steps": 24,
    "optimizer": {"name": "adamw", "lr": 0.01, "clip_norm": 1.0},
    "checkpoint": {"every_steps": 8, "every_s": 3600, "keep": 5},
}
SHARDED = {**PAIR, "sharding": "full"}


def _ended(process: JobProcess) -> list[AnyEvent]:
    events, log = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Finished), log
    return events


def _newest(events: list[AnyEvent]) -> Any:
    path = [e.path for e in events if isinstance(e, CheckpointWritten)][-1]
    return torch.load(path, weights_only=True)["state"]["session"]


def test_a_sharded_job_survives_a_killed_replica_with_the_bits_of_an_undisturbed_one(
    fresh: FreshLauncher, warm: Launcher, tmp_path: Path
) -> None:
    whole = _ended(warm.start(make_order(tmp_path / "whole", SHARDED, threads=2)))
    assert isinstance(whole[0], Started)
    assert whole[0].environment["sharding"] == "full, as asked"

    process = warm.start(make_order(tmp_path / "killed", {**SHARDED, "max_steps": None}, threads=2))
    read_until(process, "checkpoint")
    psutil.Process(process.pid).children()[1].kill()
    rest, log = read_to_the_end(process)
    process.close()
    assert isinstance(rest[-1], Failed), log
    assert (rest[-1].failure_kind, rest[-1].retryable) == ("lost", True)

    first = next(e for e in whole if isinstance(e, CheckpointWritten))
    reference = CheckpointReference(step=first.step, path=first.path, sha256=first.sha256)
    order = make_order(tmp_path / "again", SHARDED, threads=2, resume=[reference])
    resumed = _ended(fresh.start(order))
    assert isinstance(resumed[0], Started)
    assert resumed[0].step == first.step
    torch.testing.assert_close(_newest(resumed), _newest(whole), rtol=0, atol=0)


def test_a_sharded_job_computes_and_leaves_what_a_replicated_one_does(
    warm: Launcher, tmp_path: Path
) -> None:
    found = {}
    for how in ("off", "full"):
        few = {"max_steps": 8, "optimizer": {"name": "sgd", "lr": 0.01}, "ema": {"decay": 0.9}}
        spec = {**PAIR, **few, "sharding": how}
        events = _ended(warm.start(make_order(tmp_path / how, spec, threads=2)))
        weights = next(e for e in events if isinstance(e, ArtifactWritten))
        last = events[-1]
        assert isinstance(last, Finished)
        found[how] = (load_file(weights.path), last.summary)
    torch.testing.assert_close(found["full"][0], found["off"][0], rtol=1e-4, atol=1e-5)
    for name in ("train/loss", "val/loss"):
        assert found["full"][1][name] == pytest.approx(found["off"][1][name], rel=1e-4)
    assert found["full"][1]["parameters"] == found["off"][1]["parameters"]
