"""Costs are counted in calls; no test measures its own seconds."""

from __future__ import annotations

import re
from pathlib import Path

from tests.counted_calls import calls_of

MEASURED = re.compile(
    r"\b(process_time|perf_counter|thread_time|timeit)\b|\b(monotonic|time)\(\) - \w+ <"
)
HERE = Path(__file__).parent
OTHERS = {
    Path(__file__),
    HERE / "benchmarks/test_turns.py",  # the clock is part of what it tests
    HERE / "workers/test_job_usage.py",  # it uses up some processor time, to see it reported
}


def test_calls_of_python_and_of_c_are_counted_and_only_those_of_the_work() -> None:
    def twice() -> int:
        return len("a") + len("b")

    assert calls_of(twice) == calls_of(lambda: None) + 2
    assert calls_of(lambda: [twice() for _ in range(10)]) >= 30
    assert calls_of(twice) == calls_of(twice)


def test_no_test_measures_how_many_seconds_something_takes() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in HERE.rglob("*.py")}
    assert {path for path, text in texts.items() if MEASURED.search(text)} == OTHERS
