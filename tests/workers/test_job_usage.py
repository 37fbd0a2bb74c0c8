"""The resources that a job uses: processor, memory and GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from normlab.events import Event, Metrics, Progress
from normlab.specs.measures import is_timing
from workers.job_usage import Meter, ProcessUsage, gpu_usage
from workers.process import Launcher

from .conftest import SHORT, make_order, read_to_the_end

_CPU, _MEMORY = "device/cpu_percent", "device/memory_bytes"


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(step: int) -> Progress:
    return Progress(step=step, steps=99, epoch=0, epochs=1)


def steps_of(events: List[Event]) -> List[int]:
    return [step for e in events if isinstance(e, Metrics) for step in e.series[_CPU].steps]


_WITH_A_CHILD = """
import subprocess, sys
from workers.job_usage import ProcessUsage

usage = ProcessUsage(every_s=0)
alone = usage.now()["device/memory_bytes"]
waits = [sys.executable, "-c", "held = b'x' * (1 << 26); print(1, flush=True); input()"]
with subprocess.Popen(waits, stdin=-1, stdout=-1) as child:
    child.stdout.readline()
    print(usage.now()["device/memory_bytes"] - alone)
    child.communicate(b"1")
"""


def test_memory_is_of_the_process_and_of_those_that_it_started() -> None:
    run = [sys.executable, "-c", _WITH_A_CHILD]  # a process without other children
    told = subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout
    assert float(told) > 1 << 26


def test_a_process_that_computes_takes_its_core_and_a_waiting_one_takes_none() -> None:
    clock = Clock()
    usage = ProcessUsage(every_s=0, clock=clock)
    begun = time.process_time()
    while time.process_time() < begun + 0.2:
        pass
    clock.now += 0.4  # as if the host had given it half of the time
    busy = usage.now()[_CPU]
    clock.now += 1000
    assert busy >= 45
    assert usage.now()[_CPU] < 1


def test_points_come_with_the_first_progress_and_then_at_a_modest_rate() -> None:
    clock = Clock()
    sent: List[Event] = []
    meter = Meter(sent.append, ProcessUsage(every_s=5, clock=clock))
    for step, passed_s in ((0, 0), (1, 0), (2, 4.9), (3, 0.2), (3, 9), (4, 0)):
        clock.now += passed_s
        meter.send(progress(step))
    assert steps_of(sent) == [1, 3, 4]
    assert [e.step for e in sent if isinstance(e, Progress)] == [0, 1, 2, 3, 3, 4]


def test_members_of_a_pack_are_told_the_same_of_their_one_process() -> None:
    usage = ProcessUsage()
    sent: List[Event] = []
    for _ in range(3):
        Meter(sent.append, usage).send(progress(1))
    told = [{n: s.values for n, s in e.series.items()} for e in sent if isinstance(e, Metrics)]
    assert len(told) == 3
    assert told[0] == told[1] == told[2]


def test_a_job_process_reports_what_it_takes_as_metrics_of_the_machine(
    launcher: Launcher, tmp_path: Path
) -> None:
    process = launcher.start(make_order(tmp_path, SHORT))
    events, _ = read_to_the_end(process)
    process.close()
    series = [e.series for e in events if isinstance(e, Metrics) and _CPU in e.series]
    assert series[0].keys() == {_CPU, _MEMORY}  # and nothing of a GPU on this host
    assert all(is_timing(name) for name in series[0])
    assert series[0][_MEMORY].values[0] > 50 << 20  # torch is imported
    steps = [step for one in series for step in one[_CPU].steps]
    assert steps == sorted(set(steps))


def _cuda(**given: Any) -> SimpleNamespace:
    facts: Dict[str, Any] = {"is_initialized": lambda: True, "memory_reserved": lambda: 1 << 20}
    return SimpleNamespace(**{**facts, **given})


class _NotSupported(Exception):
    """As NVIDIA's library raises it for a part of a GPU."""


def _refuse() -> int:
    raise _NotSupported


def test_a_gpu_tells_its_memory_and_how_busy_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=_NotSupported))
    memory = {"device/gpu_memory_bytes": float(1 << 20)}
    assert gpu_usage(_cuda(utilization=lambda: 83)) == {**memory, "device/gpu_percent": 83.0}
    assert gpu_usage(_cuda(utilization=_refuse)) == memory


def test_without_nvidias_library_or_a_gpu_what_is_unknown_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    assert gpu_usage(_cuda()) == {"device/gpu_memory_bytes": float(1 << 20)}
    assert gpu_usage(_cuda(is_initialized=lambda: False)) == {}
    assert gpu_usage(None) == {}
