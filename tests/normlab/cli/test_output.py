"""How jobs and values are written in tables, and the messages about several jobs."""

from __future__ import annotations

import pytest

from normlab.cli.application import run
from normlab.cli.output import device_of, measured, print_each, print_table
from normlab.errors import NotFound
from normlab.records import JobRecord


def a_job(**fields: object) -> JobRecord:
    return JobRecord.model_construct(**{"device": "ipu", **fields})


def test_a_device_that_was_emulated_is_marked() -> None:
    real = a_job(runtime="poptorch-hardware", timing_valid=True)
    emulated = a_job(runtime="host-emulation", timing_valid=False)
    assert [device_of(job) for job in (real, emulated)] == ["ipu", "ipu (host-emulation)"]


def test_a_job_that_shared_its_device_with_others_says_with_how_many() -> None:
    packed = a_job(device="cpu", runtime="packed", timing_valid=False, packed=8)
    went_on_alone = a_job(device="cpu", runtime="cpu", timing_valid=False, packed=4)
    assert device_of(packed) == "cpu (packed: 8)"
    assert device_of(went_on_alone) == "cpu (packed: 4)"


@pytest.mark.parametrize(
    ("pair", "ignored"),
    [
        (["--against", "normalizer:batch", "--json"], "--compare AXIS:A:B"),
        (["--against", "normalizer:batch", "-f", "latex"], "--compare AXIS:A:B"),
        (["--format", "latex", "-o", "yaml"], "cannot be used with -o or --json"),
        (["--plot", "figure.svg", "-o", "csv"], "leave out -o"),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(
    pair: list[str], ignored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results", "a study", *pair]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert ignored in said.err


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_done_before_an_error_is_printed(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(job: str) -> str:
        if job == "unknown":
            raise NotFound(job)
        return f"{job} is cancelled"

    with pytest.raises(NotFound):
        print_each(map(change, ["first", "unknown", "last"]), as_json, str)
    out = capsys.readouterr().out
    assert "first is cancelled" in out
    assert "last" not in out


def test_values_in_a_table_are_written_as_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["field", "value"], [["nesterov", True], ["milestones", [1, 2]], ["lr", None]])
    written = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [value.rstrip() for _, value in written] == ["true", "[1, 2]", "-"]


def test_bytes_have_a_unit_in_a_table_and_are_on_the_right_like_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(name, measured(name, 3e8)) for name in ("device/memory_bytes", "train/loss")]
    print_table(["metric", "last"], rows)
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in lines] == [["286.1", "MiB"], ["3e+08"]]
    assert len({len(line.rstrip()) for line in lines}) == 1
