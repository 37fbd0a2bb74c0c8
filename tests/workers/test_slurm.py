"""Workers in allocations: submitit's local executor is the batch system, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from normlab.cli.application import run
from service.jobs import changes
from service.results import metrics
from service.store.database import Database
from tests.processes import command_of
from workers import slurm
from workers.allocation import warning

from .conftest import LONG
from .floor import SETTINGS, Floor

Submit = Callable[..., int]


class Allocation:
    """One of submitit's local allocations, which does to its processes what SLURM does."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        command = [str(Path(sys.executable).parent / "normlab"), "worker", "--slurm", "--json"]
        asked = ["--executor=local", "--minutes=60", "--drain=60"]
        with (folder / "submitted").open("w+") as out:  # a pipe would stay open with the allocation
            environment = {**os.environ, **settings}
            done = subprocess.run([*command, *asked], env=environment, stdout=out, stderr=out)
            out.seek(0)
            said = out.read()
        assert done.returncode == 0, said
        self.told = json.loads(said)
        self.controller = psutil.Process(int(self.told["jobs"][0]))

    def processes(self) -> list[psutil.Process]:
        try:
            return self.controller.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def send(self, signum: int) -> None:
        """Send a signal to each process, as SLURM does."""
        for process in self.processes():
            try:
                process.send_signal(signum)
            except psutil.NoSuchProcess:
                continue

    def workers(self) -> set[int]:
        return {p.pid for p in self.processes() if command_of(p)[1:3] == ["-m", "workers"]}

    def ended(self) -> bool:
        return not self.controller.is_running() or (
            self.controller.status() == psutil.STATUS_ZOMBIE
        )

    def close(self) -> None:
        doomed = self.processes()
        for process in [*([] if self.ended() else [self.controller]), *doomed]:
            if process.is_running():
                process.kill()


@pytest.fixture
def allocation(
    database: Database, database_url: str, broker_url: str, tmp_path: Path
) -> Iterator[tuple[Floor, Allocation]]:
    floor = Floor(database, database_url, broker_url, tmp_path)
    settings = {k: str(v) for k, v in {**SETTINGS, "NORMLAB_POLL_S": 0.5}.items()}
    made = Allocation({**floor._environment, **settings}, tmp_path)
    yield floor, made
    made.close()
    floor.close()


def test_a_job_longer_than_its_allocation_is_resumed_in_the_next_one_with_the_same_bits(
    allocation: tuple[Floor, Allocation],
) -> None:
    floor, allocated = allocation
    endless = {**LONG, "schedule": "constant"}
    job = floor.submit(endless)
    floor.until_learning(job)
    (before,) = allocated.workers()
    allocated.send(warning())
    floor.until(lambda: floor.job(job).attempt == 2)
    enough = floor.job(job).step + 100
    floor.until(lambda: floor.job(job).step > enough)
    changes.cancel(floor.database, job)
    record = floor.until_state(job, "cancelled")
    assert [a.outcome for a in record.attempts] == ["released", "cancelled"]
    assert record.attempts[0].message == "its worker left the service"
    assert record.attempts[1].resumed_from_step > 0
    (after,) = allocated.workers()
    assert after != before
    undisturbed = floor.submit(endless, max_steps=record.step)
    floor.until_state(undisturbed, "succeeded", "failed")
    assert _losses(floor, job, record.step) == _losses(floor, undisturbed, record.step)
    allocated.send(15)  # as scancel does
    floor.until(allocated.ended)


def _losses(floor: Floor, job: str, updates: int) -> list[float | None]:
    """Return the losses of so many updates; each depends on all bits of the weights before it."""
    found = metrics.read(floor.database, job, "train/loss")
    assert found.steps[:updates] == list(range(1, updates + 1))
    return found.values[:updates]


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Submit:
    """Run `normlab worker --slurm` in this process, with only the SLURM programs of the test."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("NORMLAB_DATABASE_URL", "postgresql://db.example/normlab")
    monkeypatch.setenv("NORMLAB_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["workers.slurm", *arguments])
        return slurm.main()

    return call


def _fake_slurm(folder: Path, answer: str) -> Path:
    for name in ("sbatch", "srun"):
        script = folder / name
        script.write_text(f'#!/bin/sh\ncp "$1" {folder}/asked\n{answer}\n')
        script.chmod(0o755)
    return folder / "asked"


def test_slurm_is_asked_for_the_time_the_warning_and_the_gpus(
    submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = _fake_slurm(tmp_path, "echo Submitted batch job 42")
    options = ["--count=2", "--minutes=30", "--drain=90", "--sbatch=partition=long", "--json"]
    assert submit("--device=cuda", "--slots=2", *options) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == ["42", "42"]
    wanted = {"time=30", "signal=USR2@90", "gpus-per-node=2", "partition=long", "requeue"}
    lines = asked.read_text().splitlines()
    assert {f"#SBATCH --{line}" for line in wanted} <= set(lines)
    assert not [line for line in lines if "db.example" in line or "wckey" in line]


def test_no_file_of_an_allocation_has_the_address_of_the_database(
    submit: Submit, tmp_path: Path
) -> None:
    _fake_slurm(tmp_path, "echo Submitted batch job 42")
    assert submit() == 0
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".pkl"]
    assert not [path for path in files if b"db.example" in path.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--drain=20"], "--drain 20: must be at least 30 s"),
        (["--minutes=2"], "--minutes 2: the workers would drain at once"),
        ([], "srun"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(
    arguments: list[str], named: str, submit: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(*arguments) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


def test_workers_for_no_database_are_not_submitted(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NORMLAB_DATABASE_URL")
    assert submit() == 2
    assert "NORMLAB_DATABASE_URL names no database" in capsys.readouterr().err


def test_the_reasons_of_slurm_for_a_refusal_are_told(
    submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_slurm(tmp_path, "echo 'invalid partition: long' >&2; exit 1")
    assert submit("--sbatch=partition=long") == 3
    assert "invalid partition: long" in capsys.readouterr().err


def test_options_of_an_allocation_need_slurm(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--minutes=5"]) == 2
    assert capsys.readouterr().err == "normlab: --minutes can only be used together with --slurm\n"
