"""The properties of data parallelism, with real processes that communicate over gloo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from accelerators import open_accelerator
from accelerators.replica_group import is_lost_peer, joined, own_state
from normlab import norms
from normlab.errors import UnsupportedModel
from normlab.training.replicas import rows_of
from tests.accelerators import replica_program as program
from tests.normlab.training.recording import small_job

# torch 2.0 itself uses it when it reads a file
pytestmark = pytest.mark.filterwarnings("ignore:TypedStorage")
needs_gpus = pytest.mark.skipif(
    torch.cuda.device_count() < program.REPLICAS, reason="torch sees fewer than two GPUs here"
)


def _run_program(folder: Path, device: str) -> Any:
    command = [sys.executable, "-m", "tests.accelerators.replica_program", str(folder), device]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return torch.load(folder / "found.pt", map_location="cpu", weights_only=True)


def _meet_and_part(rank: int, folder: str, rounds: int) -> None:
    torch.set_num_threads(1)
    for number in range(rounds):
        place = Path(folder) / str(number)
        place.mkdir(exist_ok=True)
        with joined("cpu", rank, program.REPLICAS, place):
            dist.all_reduce(
                torch.ones(8)
            )  # nothing here keeps the sent messages when the processes separate


@pytest.mark.timeout(600)
def test_replicas_separate_while_a_thread_still_holds_their_last_message(tmp_path: Path) -> None:
    mp.spawn(_meet_and_part, (str(tmp_path), 20), nprocs=program.REPLICAS)


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train all cases in one pair of processes; their start takes longer than the training."""
    return _run_program(tmp_path_factory.mktemp("replicas"), "cpu")


def _assert_same_training(found: Any, expected: Any) -> None:
    for name, points in expected["points"].items():
        steps, values = zip(*points)
        assert [step for step, _ in found["points"][name]] == list(steps)
        replicas = torch.tensor([value for _, value in found["points"][name]])
        torch.testing.assert_close(replicas, torch.tensor(values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", program.STATELESS)
def test_replicas_average_what_one_process_accumulates(
    kind: str, replicated: Any, tmp_path: Path
) -> None:
    alone = program.train(program.accumulated(kind), tmp_path)
    _assert_same_training(replicated[kind], alone)
    names = set(alone["session"]["model"]) - set(replicated[kind]["session"]["replicas"][0])
    assert names
    for name in names:  # the parameters; each replica has its own statistics
        there, here = (s["session"]["model"][name] for s in (replicated[kind], alone))
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)


def test_replicas_with_sync_are_one_large_batch(replicated: Any, tmp_path: Path) -> None:
    alone = program.train(program.whole_batch(), tmp_path)
    _assert_same_training(replicated["synced"], alone)
    model = replicated["synced"]["session"]["model"]
    assert any(name.endswith("running_var") for name in model)
    torch.testing.assert_close(model, alone["session"]["model"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", program.SHARDED)
def test_sharded_replicas_with_sync_are_one_large_batch(
    name: str, replicated: Any, tmp_path: Path
) -> None:
    alone = program.train(program.whole_batch(), tmp_path)
    _assert_same_training(replicated[name], alone)
    model = replicated[name]["session"]["model"]
    torch.testing.assert_close(model, alone["session"]["model"], rtol=1e-4, atol=1e-5)


def test_each_replica_keeps_the_statistics_of_its_own_samples(replicated: Any) -> None:
    first, second = replicated["batch"]["session"]["replicas"]
    model = replicated["batch"]["session"]["model"]
    means = [name for name in first if name.endswith("running_mean")]
    assert means
    for name in means:
        assert torch.equal(model[name], first[name])
        assert not torch.equal(first[name], second[name])


@pytest.fixture(scope="module")
def on_two_hosts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train some of the cases in two groups of processes, which only share a network."""
    folder = tmp_path_factory.mktemp("hosts")
    program = [sys.executable, "-m", "tests.accelerators.replica_program"]
    hosts = []
    for number in ("0", "1"):
        (folder / number).mkdir()
        command = [*program, str(folder / number), "cpu", number]
        hosts.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    said = [host.communicate(timeout=300)[0].decode() for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    return torch.load(folder / "0" / "found.pt", weights_only=True)


@pytest.mark.parametrize("name", program.ON_HOSTS)
def test_two_hosts_train_what_one_host_does_to_the_bit(
    name: str, on_two_hosts: Any, replicated: Any
) -> None:
    assert on_two_hosts[name]["points"] == replicated[name]["points"]
    sessions = [found[name]["session"] for found in (on_two_hosts, replicated)]
    torch.testing.assert_close(*sessions, rtol=0, atol=0)


@needs_gpus
@pytest.mark.cuda
def test_two_gpus_average_what_two_processes_do(replicated: Any, tmp_path: Path) -> None:
    found = _run_program(tmp_path, "cuda")
    for name, expected in replicated.items():
        losses = [torch.tensor(f["points"]["train/loss"])[:, 1] for f in (found[name], expected)]
        torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-3)


def test_the_samples_of_an_update_have_the_same_order_as_on_an_ipu() -> None:
    spec = small_job(batch_size=2, gradient_accumulation=2, replicas=3)
    assert rows_of(0, spec).tolist() == [0, 1, 6, 7]
    assert rows_of(2, spec).tolist() == [4, 5, 10, 11]


def test_one_process_refuses_to_be_several_replicas() -> None:
    spec = small_job(replicas=3, gradient_accumulation=2)
    with pytest.raises(UnsupportedModel, match="gradient_accumulation=6"):
        open_accelerator("cpu", spec)


def test_replicas_share_only_the_parameters() -> None:
    layer = norms.make("online", 4)
    assert {"mu", "var", "u", "v"} <= set(own_state(layer))
    assert not set(own_state(layer)) & set(dict(layer.named_parameters()))


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:525] Connection closed by peer"), True),
        (RuntimeError("NCCL error: remote process exited"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("gloo"), False),
    ],
)
def test_the_end_of_a_peer_is_distinguished_from_an_own_error(error: Exception, lost: bool) -> None:
    assert is_lost_peer(error) == lost
