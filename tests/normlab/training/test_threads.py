"""The number of threads is chosen once per job, is stored, and the choice changes no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from accelerators import cpu, open_accelerator
from normlab.errors import JobDrained
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from normlab.training.loop import fit
from tests.normlab.training.recording import Recorder, small_job

SHARE = 2
Outcome = Tuple[Recorder, Optional[Dict[str, Any]]]


def attempt(
    spec: JobSpec, folder: Path, resume: List[NamedCheckpoint], stop_after: Optional[int] = None
) -> Outcome:
    asked: List[int] = []

    def should_stop() -> Optional[JobDrained]:
        asked.append(1)
        return JobDrained("test") if stop_after is not None and len(asked) > stop_after else None

    recorder = Recorder()
    checkpoints = CheckpointFolder(folder, spec.fingerprint(), resume)
    accelerator = open_accelerator("cpu", spec, SHARE)
    try:
        return recorder, fit(spec, accelerator, recorder, checkpoints, folder, should_stop)
    except JobDrained:
        return recorder, None


def choosing(monkeypatch: pytest.MonkeyPatch, number: int) -> List[int]:
    """Choose *number* after some updates, as a measurement does; return the choices."""
    made: List[int] = []

    def choose(
        update: Callable[[], object], most: int, updates: int, expected_s: Optional[float]
    ) -> int:
        for _ in range(3):
            update()
        made.append(most)
        return number

    monkeypatch.setattr(cpu, "choose_threads", choose)
    return made


def threads_of(recorder: Recorder) -> int:
    (started,) = recorder.events("Started")
    return int(started.environment["threads"])


@pytest.mark.parametrize("kind", ["batch", "online", "streaming", "switchable", "weight"])
def test_choosing_threads_changes_no_bit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = choosing(monkeypatch, 1)
    _, chosen = attempt(small_job(normalizer=kind), tmp_path / "chosen", [])
    _, fixed = attempt(small_job(normalizer=kind, threads=1), tmp_path / "fixed", [])
    assert made == [SHARE]
    assert chosen is not None
    assert fixed is not None
    names = ["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
    assert [chosen[n] for n in names] == [fixed[n] for n in names]
    assert (chosen["threads"], fixed["threads"]) == (1, 1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_resumed_attempt_takes_the_number_on_record(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = choosing(monkeypatch, number)
    first, _ = attempt(small_job(), tmp_path / "1", [], stop_after=5)
    choosing(monkeypatch, 3 - number)  # the result that a measurement would have now
    second, summary = attempt(small_job(), tmp_path / "2", first.named_checkpoints())
    assert (threads_of(first), threads_of(second)) == (number, number)
    assert made == [SHARE]
    assert summary is not None
    assert summary["threads"] == number


def test_a_job_that_names_its_threads_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = choosing(monkeypatch, 1)
    recorder, _ = attempt(small_job(threads=2), tmp_path, [])
    assert (threads_of(recorder), made) == (2, [])


def test_a_checkpoint_without_a_number_used_all_threads_of_the_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choosing(monkeypatch, 1)
    write = CheckpointFolder.write
    monkeypatch.setattr(
        CheckpointFolder,
        "write",
        lambda self, step, state: write(
            self, step, {k: v for k, v in state.items() if k != "threads"}
        ),
    )
    first, _ = attempt(small_job(), tmp_path / "1", [], stop_after=5)
    second, _ = attempt(small_job(), tmp_path / "2", first.named_checkpoints())
    assert threads_of(second) == SHARE
