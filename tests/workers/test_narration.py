"""The lines that a training writes to its job's log."""

from __future__ import annotations

import os
from typing import Any, List

from normlab.events import Finished, Metrics, Progress, Series, Started
from workers.narration import Narrator


def told(*events: Any) -> List[str]:
    lines: List[str] = []
    passed: List[Any] = []
    narrator = Narrator(passed.append, lines.append)
    for event in events:
        narrator.send(event)
    assert passed == list(events)
    return lines


def test_a_log_tells_the_beginning_each_epoch_and_the_end() -> None:
    loss = Series(steps=[9, 10], values=[0.5, 0.25], times=[1.0, 2.0])
    lines = told(
        Started(step=0, environment={"runtime": "cpu", "versions": {"torch": "2.13.0"}}),
        Progress(step=0, steps=20, epoch=0, epochs=2),
        Metrics(series={"train/loss": loss, "device/memory_peak_bytes": loss}),
        Progress(step=10, steps=20, epoch=1, epochs=2),
        Progress(step=12, steps=20, epoch=1, epochs=2),
        Finished(step=20, summary={}),
    )
    assert lines == [
        f"training begins on cpu, torch 2.13.0, in process {os.getpid()}",
        "epoch 1 of 2, update 10: train/loss 0.25",
        "finished after 20 updates",
    ]


def test_an_epoch_without_an_evaluation_does_not_repeat_that_of_an_earlier_one() -> None:
    def measured(**values: float) -> Metrics:
        series = {k: Series(steps=[1], values=[v], times=[1.0]) for k, v in values.items()}
        return Metrics(series={name.replace("_", "/"): one for name, one in series.items()})

    lines = told(
        measured(train_loss=0.5, val_loss=0.75),
        Progress(step=10, steps=20, epoch=1, epochs=2),
        measured(train_loss=0.25),
        Progress(step=20, steps=20, epoch=2, epochs=2),
    )
    assert lines == [
        "epoch 1 of 2, update 10: train/loss 0.5, val/loss 0.75",
        "epoch 2 of 2, update 20: train/loss 0.25",
    ]


def test_a_later_attempt_says_where_it_goes_on() -> None:
    (line,) = told(Started(step=40, environment={"runtime": "cpu", "versions": {"torch": "2"}}))
    assert line.startswith("training continues from update 40 on cpu, torch 2, in process ")
