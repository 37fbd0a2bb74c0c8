"""Processes that are compared work in turns, and each counts its own alone."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.turns import ProcessTurn, Work, in_turns


def writing(file: Path, letter: str, pieces: int) -> Work:
    def work(turn: ProcessTurn) -> str:
        for _ in range(pieces):
            with file.open("a") as opened:
                opened.write(letter)
            turn()
        return letter

    return work


def test_processes_work_one_after_another_and_return_what_they_made(tmp_path: Path) -> None:
    file = tmp_path / "order"
    works = {letter: writing(file, letter, 4) for letter in "ab"}
    spent = in_turns(works, pieces=2)
    assert file.read_text() == "aabbbbaa"  # there and back
    assert {name: one.result for name, one in spent.items()} == {"a": "a", "b": "b"}


def test_the_one_with_more_to_do_ends_alone(tmp_path: Path) -> None:
    file = tmp_path / "order"
    in_turns({"a": writing(file, "a", 1), "b": writing(file, "b", 5)}, pieces=1)
    assert file.read_text() == "abbbbb"


def test_time_in_the_turns_of_others_and_before_the_start_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = multiprocessing.get_context("fork").Value("d", 0.0)  # of all processes
    clock = SimpleNamespace(perf_counter=lambda: now.value, process_time=lambda: now.value)
    monkeypatch.setattr("benchmarks.turns.time", clock)

    def working(before_s: float, each_s: float) -> Work:
        def work(turn: ProcessTurn) -> None:
            now.value += before_s
            turn.start()
            for _ in range(3):
                now.value += each_s
                turn()

        return work

    spent = in_turns({"short": working(0.5, 0.25), "long": working(0.0, 2.0)}, pieces=1)
    assert (spent["short"].wall_s, spent["long"].wall_s) == (0.75, 6.0)
    assert (spent["short"].cpu_s, spent["long"].cpu_s) == (0.75, 6.0)


def test_a_process_that_fails_ends_the_measurement(capfd: pytest.CaptureFixture[str]) -> None:
    def failing(turn: ProcessTurn) -> None:
        raise ValueError("no such thing")

    with pytest.raises(SystemExit, match="failing: its process ended before its work"):
        in_turns({"failing": failing}, pieces=1)
    assert "no such thing" in capfd.readouterr().err
