from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from normlab.specs.jobs import JobSpec
from service.inspector import AT_ONCE, Inspector
from service.settings import Settings

ANSWER = {"parameters": 7, "memory_bytes": 70, "ipu_passes": True, "ipu_message": "passes"}


class Fake:
    """An inspection process with a given answer, which counts its requests."""

    def __init__(self, path: Path) -> None:
        self.asked: list[dict[str, object]] = []
        self.answer: dict[str, object] = dict(ANSWER)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self.asked.append(json.loads(lines.readline()))
                connection.sendall(json.dumps(self.answer).encode() + b"\n")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    fake = Fake(tmp_path / "socket")
    yield fake
    fake.close()


def inspector(tmp_path: Path) -> Inspector:
    return Inspector(Settings(data_dir=tmp_path, inspector_socket=tmp_path / "socket"))


def test_the_same_model_is_inspected_once(fake: Fake, tmp_path: Path) -> None:
    asking = inspector(tmp_path)
    first = asking.ask(JobSpec(normalizer="group", seed=1))
    again = asking.ask(JobSpec(normalizer="group", seed=2, epochs=9, name="other"))
    assert first == again
    assert first is not None
    assert first.parameters == 7
    assert len(fake.asked) == 1


def test_another_learning_rate_is_the_same_question(fake: Fake, tmp_path: Path) -> None:
    asking = inspector(tmp_path)
    for lr in (0.1, 0.01):
        optimizer = {"name": "adamw", "lr": lr, "weight_decay": lr / 10}
        asking.ask(JobSpec.model_validate({"normalizer": "group", "optimizer": optimizer}))
    asking.ask(JobSpec.model_validate({"normalizer": "group", "optimizer": "sgd"}))
    assert [q["optimizer"]["name"] for q in fake.asked] == ["adamw", "sgd"]


def test_another_normalizer_is_another_question(fake: Fake, tmp_path: Path) -> None:
    asking = inspector(tmp_path)
    asking.ask(JobSpec(normalizer="group"))
    asking.ask(JobSpec(normalizer="layer"))
    assert [q["normalizer"]["kind"] for q in fake.asked] == ["group", "layer"]


def test_a_failure_is_not_remembered(fake: Fake, tmp_path: Path) -> None:
    asking = inspector(tmp_path)
    fake.answer = {"error": "no memory"}
    assert asking.ask(JobSpec(normalizer="group")) is None
    fake.answer = dict(ANSWER)
    assert asking.ask(JobSpec(normalizer="group")) is not None


def test_without_an_inspector_nothing_is_known(tmp_path: Path) -> None:
    assert inspector(tmp_path).ask(JobSpec(normalizer="group")) is None


def test_a_python_without_torch_is_not_tried_again_at_once(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho once >> {tries}\nexit 1\n")
    python.chmod(0o700)
    asking = Inspector(Settings(data_dir=tmp_path, job_python={"cpu": python}))
    assert asking.ask(JobSpec(normalizer="group")) is None
    assert asking.ask(JobSpec(normalizer="group")) is None
    asking.close()
    assert tries.read_text() == "once\n"


def test_a_process_that_we_start_answers_and_ends_with_us(tmp_path: Path) -> None:
    asking = Inspector(Settings(data_dir=tmp_path))
    try:
        found = asking.ask(JobSpec(normalizer="online"))
        assert found is not None, (tmp_path / "logs" / "inspector.log").read_text()
        assert found.parameters > 1000
        assert "backward control process" in found.ipu_message
        child = asking._child
        assert child is not None
    finally:
        asking.close()
    assert child.poll() is not None


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from normlab.specs.jobs import JobSpec;"
        "from service.inspector import Inspector; from service.settings import Settings;"
        "i = Inspector(Settings(data_dir=Path(sys.argv[1])));"
        "i.ask(JobSpec(normalizer='group')); print(i._child.pid, flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    deadline = time.monotonic() + 120
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.exists(f"/proc/{pid}")


def test_a_model_that_takes_too_long_is_inspected_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inspector.ANSWER_WITHIN_S", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()
        asking = inspector(tmp_path)
        assert asking.ask(JobSpec(normalizer="group")) is None
        assert asking.ask(JobSpec(normalizer="group", seed=1)) is None
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # nobody asked a second time
            silent.accept()


def test_many_questions_do_not_occupy_as_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inspector.ANSWER_WITHIN_S", 600.0)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen(AT_ONCE)
        asking = inspector(tmp_path)
        specs = [JobSpec(normalizer="group", batch_size=n + 1) for n in range(AT_ONCE + 1)]
        threads = [threading.Thread(target=asking.ask, args=(spec,)) for spec in specs[1:]]
        for thread in threads:
            thread.start()
        connections = [silent.accept()[0] for _ in threads]
        assert asking.ask(specs[0]) is None  # it would wait for ten minutes
        for connection in connections:
            connection.close()
        for thread in threads:
            thread.join()
