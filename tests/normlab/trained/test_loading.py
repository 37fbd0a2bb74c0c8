"""A network that was trained by a real stack comes back, and evaluates to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

pytest.importorskip("service.up", reason="the server's packages are not installed")

import normlab
from normlab.client import Client
from normlab.errors import Conflict, InvalidSpec, NotFound
from normlab.records import JobDetail
from normlab.stacks.connection import Connection, read_connection
from normlab.trained import Loaded
from normlab.trained.export import CARD, write_program
from tests.normlab.plugins.authors import written
from tests.normlab.trained.conftest import SMALL, Cli, done

JOBS: dict[str, dict[str, Any]] = {
    "batch": {"normalizer": "batch"},
    "online": {"normalizer": "online"},
    "streaming": {"normalizer": "streaming"},
    "switchable": {"normalizer": "switchable"},
    "group, proxy": {"normalizer": {"kind": "group", "groups": 2, "proxy": True}},
    "weight": {"normalizer": "weight"},
    "bfloat16": {"normalizer": "layer", "precision": "bfloat16"},
    "averaged weights": {"normalizer": "batch", "ema": {"decay": 0.9}},
    "segmentation": {
        "normalizer": "batch_renorm",
        "model": {"name": "unet", "width": 4},
        "dataset": {"name": "scenes32", "train_size": 32, "test_size": 24},
    },
}


@pytest.fixture(scope="module")
def trained(client: Client) -> dict[str, JobDetail]:
    """The jobs, all of which have succeeded."""
    ids = {name: client.submit({**SMALL, **fields}).id for name, fields in JOBS.items()}
    found = {name: client.wait(job, timeout_s=240) for name, job in ids.items()}
    assert [job.error for job in found.values()] == [None] * len(found)
    return found


@pytest.mark.parametrize("name", JOBS)
def test_a_loaded_network_has_the_jobs_metrics_to_the_bit(
    name: str, client: Client, trained: dict[str, JobDetail]
) -> None:
    job = trained[name]
    model, data = normlab.load(job.id, client=client)
    assert not model.training
    stored = {n: v.value for n, v in job.last.items() if n.startswith("val/")}
    assert data.evaluate(model) == stored
    assert len(stored) >= 2


def test_accuracy_can_be_counted_by_hand(client: Client, trained: dict[str, JobDetail]) -> None:
    model, data = normlab.load(trained["batch"].id, client=client)
    with torch.no_grad():
        correct = sum(int((model(x).argmax(1) == y).sum()) for x, y in data)
    assert correct / len(data) == trained["batch"].last["val/accuracy"].value


def test_loading_leaves_the_random_numbers_as_they_are(
    client: Client, trained: dict[str, JobDetail]
) -> None:
    before = torch.get_rng_state()
    normlab.load(trained["batch"].id[-8:], client=client)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_file_describes_itself(
    client: Client, trained: dict[str, JobDetail], tmp_path: Path
) -> None:
    job = trained["batch"]
    path = client.save_weights(job.id, tmp_path / "net.safetensors")
    with safe_open(path, framework="pt") as file:
        said = {
            name: json.loads(text) for name, text in file.metadata().items() if name != "format"
        }
    assert said["job"] == job.spec.model_dump(mode="json")
    assert said["metrics"]["val/accuracy"] == job.last["val/accuracy"].value
    assert said["sizes"] == {"channels": 1, "num_classes": 10, "image_size": 16}
    assert not any(name.startswith("time/") for name in said["metrics"])


def test_a_part_of_the_file_can_be_asked_for(
    connection: Connection, trained: dict[str, JobDetail]
) -> None:
    url = f"{connection.url}/v1/jobs/{trained['batch'].id}/weights"
    head = {"Authorization": f"Bearer {connection.token}", "Range": "bytes=0-7"}
    answer = httpx.get(url, headers=head, timeout=60)
    assert (answer.status_code, len(answer.content)) == (206, 8)


def test_a_job_without_final_weights_says_why(client: Client, tmp_path: Path) -> None:
    nothing = client.wait(client.submit({"normalizer": "batch", "epochs": 0}).id, timeout_s=240)
    with pytest.raises(Conflict, match="trained for no epochs"):
        client.save_weights(nothing.id, tmp_path / "x")
    waiting = client.submit({"normalizer": "batch", "device": "cuda"}).id
    for ask in (
        lambda: client.save_weights(waiting, tmp_path / "x"),
        lambda: _load(client, waiting),
    ):
        with pytest.raises(Conflict, match="is queued; only one that succeeded"):
            ask()
    with pytest.raises(NotFound):
        client.save_weights("01890000-0000-7000-8000-000000000000", tmp_path / "x")


def _load(client: Client, job: str) -> Loaded:
    found: Loaded = normlab.load(job, client=client)
    return found


def test_a_program_predicts_as_the_network_does(
    client: Client, trained: dict[str, JobDetail], tmp_path: Path
) -> None:
    loaded = _load(client, trained["batch"].id)
    write_program(loaded, tmp_path / "net.pt2", "the card")
    said = {CARD: ""}
    program = torch.export.load(str(tmp_path / "net.pt2"), extra_files=said).module()
    x, _ = next(iter(loaded.data))
    with torch.no_grad():
        for n in (1, 5, len(x)):
            assert torch.equal(program(x[:n]), loaded.model(x[:n]))
    assert said[CARD] == "the card"


def test_a_network_that_torch_cannot_trace_is_refused_with_the_reason(
    client: Client, trained: dict[str, JobDetail], tmp_path: Path
) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    _, data = _load(client, trained["batch"].id)
    with pytest.raises(InvalidSpec, match=r"cannot trace preresnet8 with 'batch' \("):
        write_program(Loaded(Branching(), data), tmp_path / "net.pt2")


def test_a_set_that_was_streamed_is_streamed_again(client: Client, folder: Path) -> None:
    root = folder / "datasets"
    root.mkdir(exist_ok=True)
    x = np.random.default_rng(0).integers(0, 255, (60, 1, 8, 8), dtype=np.uint8)
    y = np.arange(60) % 3
    np.savez(root / "own.npz", train_x=x[:40], train_y=y[:40], test_x=x[40:], test_y=y[40:])
    data = {"name": "file", "file": "own.npz"}
    model = {"name": "convnet", "width": 4}
    fields = {"dataset": data, "model": model, "loading": {"mode": "stream", "workers": 1}}
    job = done(client, normalizer="batch", **fields)
    assert job.state == "succeeded", job.error
    net, test = normlab.load(job.id, client=client, data_root=root)
    assert len(test) == 20
    assert test.evaluate(net)["val/loss"] == job.last["val/loss"].value


def test_code_that_somebody_uploaded_runs_here_only_if_it_is_trusted(
    client: Client, tmp_path: Path, no_plugins: None
) -> None:
    code = client.plugins.upload(written(tmp_path)).digest
    job = done(client, normalizer="dyt_of_mine", code=[code])
    assert job.state == "succeeded", job.error
    with pytest.raises(InvalidSpec, match="give trust_code=True"):
        _load(client, job.id)
    model, data = normlab.load(job.id, client=client, trust_code=True)
    assert data.evaluate(model)["val/loss"] == job.last["val/loss"].value
    longer = client.wait(client.go_on(job.id, epochs=2, anyway=True).id, timeout_s=240)
    assert (longer.state, longer.attempts[-1].resumed_from_step) == ("succeeded", 12)
    tuned = done(client, normalizer="rms", init_from={"from": job.id, "normalizers": "swap"})
    assert tuned.state == "succeeded", tuned.error
    assert "4.layer.norm.weight" in tuned.attempts[-1].environment["init_from"]["carried"]


def test_the_command_writes_weights_and_a_card(
    cli: Cli, trained: dict[str, JobDetail], tmp_path: Path
) -> None:
    job = trained["batch"]
    code, out, err = cli("weights", job.id, "--out", "net.safetensors")
    assert (code, err) == (0, "")
    assert "0.weight" in load_file(tmp_path / "net.safetensors")
    card = (tmp_path / "net.md").read_text()
    digest = out.split()[-1]
    assert digest in card
    assert f'normlab.load("{job.id}")' in card
    assert repr(job.last["val/accuracy"].value) in card
    assert f'"batch_size": {job.batch_size}' in card


def test_the_command_lists_the_names(cli: Cli, trained: dict[str, JobDetail]) -> None:
    code, out, _ = cli("weights", trained["batch"].id, "--list", "--json")
    assert (code, json.loads(out)["0.weight"]["shape"]) == (0, [4, 1, 3, 3])


def test_bad_input_of_the_command_is_one_line(cli: Cli, trained: dict[str, JobDetail]) -> None:
    code, _, err = cli("weights", trained["batch"].id, "--format", "onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "choose one of safetensors, torch-export" in err


def test_the_stack_says_where_its_datasets_are(connection: Connection, folder: Path) -> None:
    found = read_connection(folder)
    assert found is not None
    assert found.url == connection.url
    assert found.data_root == str(folder.absolute() / "datasets")
