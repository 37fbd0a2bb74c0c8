"""The stack of compose.yaml, built and run for real: a job survives the restart of its worker."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from normlab.client import Client

ROOT = Path(__file__).parents[2]
WITHIN_S = 1800.0
SHORT_NAMES = {
    "NORMLAB_PYTHON_IMAGE": "python:3.11-slim-bookworm",
    "NORMLAB_POSTGRES_IMAGE": "postgres:15-bookworm",
    "NORMLAB_REDIS_IMAGE": "redis:7-bookworm",
}
pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]

JOB: Dict[str, Any] = {
    "normalizer": "group",
    "dataset": {"name": "digits"},
    "batch_size": 4,
    "epochs": 1,
    "device": "cpu",
}


LAYER = '''
import normlab
import torch


@normlab.normalizer("my_dyt", batch_independent=True)
class DyT(torch.nn.Module):
    """tanh(alpha x)."""

    def __init__(self, num_features: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = torch.nn.Parameter(torch.tensor(alpha))

    def forward(self, x):
        return torch.tanh(self.alpha * x)
'''


class Compose:
    """docker-compose with a separate project and separate secrets."""

    def __init__(self, plugins: Path) -> None:
        self.command = _compose_command()
        self.port, postgres, redis = _free_ports(3)
        self.token = secrets.token_hex(24)
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"normlab-test-{os.getpid()}",
            "POSTGRES_PASSWORD": secrets.token_hex(24),
            "REDIS_PASSWORD": secrets.token_hex(24),
            "NORMLAB_TOKEN": self.token,
            "NORMLAB_PORT": str(self.port),
            "NORMLAB_POSTGRES_PORT": str(postgres),
            "NORMLAB_REDIS_PORT": str(redis),
            "NORMLAB_PLUGINS": str(plugins),
        }

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            check=check,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", self.token)


def _compose_command() -> List[str]:
    if shutil.which("docker") is None:
        pytest.skip("no docker command on this machine")
    engine = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if engine.returncode:
        pytest.skip(f"no Docker engine answers: {engine.stderr.strip().splitlines()[-1:]}")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("neither docker compose nor docker-compose is here")


def _free_ports(n: int) -> List[int]:
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _find_base_images() -> Dict[str, str]:
    """Return what to set where no registry answers: images that are here by their short names."""
    compose = (ROOT / "compose.yaml").read_text()
    pinned = dict(re.findall(r"(NORMLAB_\w+_IMAGE):-([^}]+)", compose))
    instead = {}
    for variable, short in SHORT_NAMES.items():
        if variable in os.environ or _succeeds("docker", "pull", "--quiet", pinned[variable]):
            continue
        if not _succeeds("docker", "image", "inspect", short):
            pytest.skip(f"{pinned[variable]} cannot be pulled, and {short} is not here")
        instead[variable] = short
    return instead


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the containers' user may read, whoever made it."""
    folder = tmp_path_factory.mktemp("plugins")
    for above in (folder, *folder.parents[:-2]):
        above.chmod(0o755)
    (folder / "my_layer.py").write_text(LAYER)
    return folder


@pytest.fixture(scope="module")
def compose(plugins: Path) -> Iterator[Compose]:
    compose = Compose(plugins)
    compose.environment.update(_find_base_images())
    try:
        compose.run("build")
        compose.run("up", "-d")
        _wait_until_well(compose, "api")
        yield compose
    except (subprocess.CalledProcessError, TimeoutError) as e:
        output = getattr(e, "output", "") or compose.run("logs", "--tail", "40", check=False).stdout
        pytest.fail(f"{e}\n{output[-4000:]}")
    finally:
        compose.run("down", "-v", "--remove-orphans", check=False)


def _wait_until_well(compose: Compose, service: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        services = compose.run("ps").stdout
        container = compose.run("ps", "-q", service).stdout.strip()
        state = subprocess.run(
            ["docker", "inspect", "-f", "{{.State.Health.Status}}", container],
            capture_output=True,
            text=True,
            check=False,
        )
        if state.stdout.strip() == "healthy":
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{service} is not healthy: {services}")
        time.sleep(1)


def test_a_job_from_the_host_succeeds(compose: Compose) -> None:
    with compose.client() as client:
        job = client.submit(JOB)
        done = client.wait(job.id, timeout_s=WITHIN_S)
        assert (done.state, done.attempt) == ("succeeded", 1), client.get(job.id)
        assert done.last["val/accuracy"].value is not None


def test_a_job_survives_the_restart_of_its_worker(compose: Compose) -> None:
    with compose.client() as client:
        job = client.submit({**JOB, "epochs": 100_000, "checkpoint": {"every_s": 1}})
        _wait_for_step(client, job.id, 50)
        compose.run("restart", "worker-cpu")
        before = client.get(job.id).step
        _wait_for_step(client, job.id, before + 50)
        client.cancel(job.id)  # too long to end before a slow machine restarts its worker
        detail = client.wait(job.id, timeout_s=WITHIN_S)
        assert [a.outcome for a in detail.attempts] == ["released", "cancelled"]
        assert detail.attempts[1].resumed_from_step >= 50
        losses = client.metrics(job.id, "train/loss", max_points=10)["train/loss"]
        assert losses.points == detail.last["train/loss"].step  # nothing twice, nothing missing


def test_the_inspector_answers_for_the_api(compose: Compose) -> None:
    with compose.client() as client:
        answer = client.validate({**JOB, "device": "auto"})
    assert answer.parameters is not None
    assert answer.parameters > 1000
    ipu = next(v for v in answer.verdicts if v.device == "ipu")
    assert "passes the op check" in ipu.reason


def test_a_study_compares_a_layer_of_the_mounted_folder_with_ours(compose: Compose) -> None:
    own = {"kind": "my_dyt", "alpha": 0.8}
    study = {"name": "own", "base": JOB, "axes": {"normalizer": [own, "group"]}, "seeds": 2}
    with compose.client() as client:
        created = client.studies.create(study)
        client.studies.wait(created.id, timeout_s=WITHIN_S)
        table = client.studies.results(created.id)
    found = {row.labels["normalizer"]: row.n for row in table.rows}
    assert found == {"my_dyt(alpha=0.8)": 2, "group": 2}


@pytest.mark.parametrize("service", ["postgres", "redis", "inspector", "worker-cpu"])
def test_every_service_reports_that_it_is_healthy(compose: Compose, service: str) -> None:
    _wait_until_well(compose, service)


def test_a_worker_uses_the_limits_of_its_container(compose: Compose) -> None:
    with compose.client() as client:
        (worker,) = next(d for d in client.devices() if d.kind == "cpu").workers
    assert worker.memory_bytes == 4 << 30  # NORMLAB_CPU_MEMORY by default
    assert int(worker.description.split()[-2]) <= 2  # "...., 2 cores"


def test_no_process_of_ours_is_root(compose: Compose) -> None:
    for service in ("api", "inspector", "worker-cpu"):
        user = compose.run("exec", "-T", service, "id", "-u").stdout.strip()
        assert user == "10001", service


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "NORMLAB_TOKEN"])
def test_nothing_starts_without_a_secret(missing: str, tmp_path: Path) -> None:
    compose = Compose(tmp_path)
    compose.environment[missing] = ""
    refused = compose.run("config", check=False)
    assert refused.returncode != 0
    assert missing in refused.stdout
    assert "Copy .env.example to .env" in refused.stdout


def _wait_for_step(client: Client, job: str, step: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while client.get(job).step < step:
        if time.monotonic() > deadline:
            raise TimeoutError(f"job {job} did not reach step {step}: {client.get(job)}")
        time.sleep(0.2)
