"""Processes that are compared work in turns, and each counts its own alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.turns import Turn, Work, in_turns


def writing(file: Path, letter: str, pieces: int) -> Work:
    def work(turn: Turn) -> str:
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


def test_time_in_the_turns_of_others_and_before_the_start_is_not_counted() -> None:
    def sleeping(before_s: float, each_s: float) -> Work:
        def work(turn: Turn) -> None:
            time.sleep(before_s)
            turn.start()
            for _ in range(3):
                time.sleep(each_s)
                turn()

        return work

    spent = in_turns({"short": sleeping(0.5, 0.0), "long": sleeping(0.0, 0.2)}, pieces=1)
    assert spent["short"].wall_s < 0.5
    assert spent["long"].wall_s >= 0.6


def test_a_process_that_fails_ends_the_measurement(capfd: pytest.CaptureFixture[str]) -> None:
    def failing(turn: Turn) -> None:
        raise ValueError("no such thing")

    with pytest.raises(SystemExit, match="failing: its process ended before its work"):
        in_turns({"failing": failing}, pieces=1)
    assert "no such thing" in capfd.readouterr().err
