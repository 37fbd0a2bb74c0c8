"""Stacks as processes: started, stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.client import Client
from normlab.errors import ServiceUnavailable
from normlab.stacks.connection import read_connection
from normlab.stacks.own import command, own_stack

from .conftest import QUICK

SETTINGS = {**QUICK, "NORMLAB_SLOTS": "1"}
LONG = {
    "normalizer": "batch",
    "dataset": {"name": "digits"},
    "epochs": 2000,
    "threads": 1,
    "checkpoint": {"every_s": 0.5},
}


class Launcher:
    """A stack as a user starts it in a terminal."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        environment = {**os.environ, **SETTINGS, "NORMLAB_DATA_DIR": str(data_dir)}
        self.process = subprocess.Popen(
            command(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ""

    def client(self) -> Client:
        """Wait until it is ready."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith("normlab is up"):
                found = read_connection(self.data_dir)
                assert found is not None
                return Client(found.url, found.token)
        raise AssertionError(f"the stack did not start: {self.said}")

    def end(self, how: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(how)
        self.said += self.process.communicate(timeout=240)[0]
        return self.process.returncode


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # not below pytest's own folder: the user that runs PostgreSQL for root has no access to it
    with tempfile.TemporaryDirectory(prefix="normlab-test-") as folder:
        yield Path(folder)


@pytest.fixture
def launch(data_dir: Path) -> Iterator[Callable[[], Launcher]]:
    started: List[Launcher] = []

    def start() -> Launcher:
        started.append(Launcher(data_dir))
        return started[-1]

    yield start
    for launcher in started:
        if launcher.process.poll() is None:
            launcher.end(signal.SIGTERM)


def running_job(client: Client) -> str:
    job = client.submit(LONG).id
    for event in client.events(job):
        if event.kind == "progress" and event.payload["step"] > 0:
            return job
    raise AssertionError("the job ended before it ran")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "crash"])
def test_a_stopped_stack_starts_again_and_its_jobs_continue(
    launch: Callable[[], Launcher], how: signal.Signals
) -> None:
    first = launch()
    with first.client() as client:
        job = running_job(client)
    assert first.end(how) == (0 if how is signal.SIGINT else -how)
    second = launch()
    with second.client() as client:
        until_running_again(client, job)
        client.cancel(job)
    assert second.end(signal.SIGTERM) == 0
    assert read_connection(second.data_dir) is None


def until_running_again(client: Client, job: str) -> None:
    for event in client.events(job):
        progress: Any = event.payload
        if event.kind == "progress" and progress["attempt"] == 2 and progress["step"] > 0:
            return
    raise AssertionError("the job did not go on")


def test_a_second_stack_on_the_same_data_is_refused(
    data_dir: Path, launch: Callable[[], Launcher]
) -> None:
    with own_stack(data_dir, {**SETTINGS, "NORMLAB_WARM_HOST": "false"}):
        second = launch()
        second.said, _ = second.process.communicate(timeout=240)
    assert second.process.returncode == 3
    assert "NORMLAB_DATA_DIR" in second.said


def test_a_stack_that_does_not_start_gives_only_its_own_reason(tmp_path: Path) -> None:
    (tmp_path / "stack.log").write_text("normlab is up, token: of-another-day\n")
    settings = {**SETTINGS, "NORMLAB_PORT": "harbour"}
    with pytest.raises(ServiceUnavailable, match="PORT") as found, own_stack(tmp_path, settings):
        pytest.fail("a stack without a port")
    assert "of-another-day" not in str(found.value)


def test_killed_servers_are_restarted_while_the_stack_keeps_running(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with own_stack(data_dir, {**SETTINGS, "NORMLAB_WARM_HOST": "false"}) as connection:
        for pid_file in ("postgres/postmaster.pid", "redis/redis.pid"):
            os.kill(int((data_dir / pid_file).read_text().split()[0]), signal.SIGKILL)
        with Client(connection.url, connection.token, tries=100) as client:
            spec = {"normalizer": "batch", "dataset": {"name": "digits"}, "epochs": 0, "threads": 1}
            ended = client.wait(client.submit(spec).id, timeout_s=240)
    assert ended.state == "succeeded", ended.error
