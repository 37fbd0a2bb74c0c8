"""Jobs start from the weights of other jobs, which the service finds, checks and records."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.client import Client
from normlab.client.reruns import start_again
from normlab.errors import Conflict, InvalidSpec
from normlab.records import JobDetail
from normlab.stacks.connection import Connection
from tests.normlab.trained.conftest import SMALL, Cli, done

NOBODY = "01890000-0000-7000-8000-000000000000"
SWAP = {"normalizers": "swap"}


def digest(client: Client, job: str) -> str:
    return next(f.sha256 for f in client.artifacts(job) if f.name == "weights.safetensors")


def test_the_normalizer_of_a_trained_net_is_swapped_and_it_is_fine_tuned(
    client: Client, batch: JobDetail, cli: Cli
) -> None:
    job = done(client, normalizer="group", freeze=["0.*"], init_from={"from": batch.id, **SWAP})
    assert job.state == "succeeded", job.error
    start = job.spec.init_from
    assert start is not None
    assert (start.job, start.sha256) == (batch.id, digest(client, batch.id))
    told = job.attempts[-1].environment["init_from"]
    assert "4.layer.norm.weight" in told["carried"]
    assert "4.layer.norm.running_var" in told["unused"]
    _, out, _ = cli("show", job.id)
    assert f"started from the weights of job {batch.id}" in " ".join(out.split())
    assert "carried over into normalizers: 14 (" in out
    assert "1 (0.weight)" in out


def test_the_same_content_under_any_name_is_the_same_cell(
    client: Client, batch: JobDetail, folder: Path, tmp_path: Path
) -> None:
    below = folder / "datasets"
    below.mkdir(exist_ok=True)
    client.save_weights(batch.id, below / "mine.safetensors")
    sha256 = digest(client, batch.id)
    found = {fingerprint(client, start) for start in (batch.id, "mine.safetensors", sha256)}
    assert len(found) == 1
    (below / "mine.safetensors").write_bytes(_changed(below / "mine.safetensors"))
    assert fingerprint(client, "mine.safetensors") not in found
    start = {"file": "mine.safetensors", "sha256": sha256}
    with pytest.raises(InvalidSpec, match="leave sha256 out"):
        fingerprint(client, start)


def test_a_study_starts_each_cell_from_the_twin_with_its_seed(
    client: Client, batch: JobDetail, cli: Cli
) -> None:
    start = {"twin": {"normalizer": "batch"}, **SWAP}
    study = {"name": "twins", "base": {**SMALL, "init_from": start, "freeze": ["0.*"]},
             "axes": {"normalizer": ["group", "rms"]}, "seeds": [batch.spec.seed]}  # fmt: skip
    made = client.studies.create(study)
    assert client.studies.wait(made.id, timeout_s=240).counts == {"succeeded": 2}
    for cell in client.studies.get(made.id).grid:
        told = client.get(str(cell.job)).attempts[-1].environment["init_from"]
        assert told["sha256"] == digest(client, batch.id)
    _, out, _ = cli("show", str(cell.job))
    assert "started from the weights of its twin with normalizer" in " ".join(out.split())
    later = {**study, "name": "twins of another seed", "seeds": [batch.spec.seed + 1]}
    with pytest.raises(InvalidSpec, match=r"init_from.twin: .* yet; run the twin first"):
        client.studies.create(later)


def fingerprint(client: Client, start: object) -> str:
    """Queue a job for a device that no worker has, and return its fingerprint."""
    job = {**SMALL, "normalizer": "batch", "device": "cuda", "init_from": start}
    return client.get(client.submit(job).id).fingerprint


def _changed(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    return bytes(content)


def test_a_file_and_a_digest_are_trained_from(client: Client, batch: JobDetail) -> None:
    job = done(client, normalizer="batch", init_from=digest(client, batch.id), seed=1)
    assert job.state == "succeeded", job.error
    assert job.attempts[-1].environment["init_from"]["new"] == []


@pytest.mark.parametrize(
    ("start", "field", "rule"),
    [
        (NOBODY, "init_from", "there is no job"),
        ("no.safetensors", "init_from", "No such file or directory; put it below"),
        ({"sha256": "0" * 64}, "init_from", "no job has final weights"),
        ("5f0c", "init_from.job", "is not the id of a job"),
        ({"job": NOBODY, "file": "a.safetensors"}, "init_from", "name one"),
    ],
)
def test_weights_that_are_not_there_are_refused_at_the_door(
    start: object, field: str, rule: str, connection: Connection
) -> None:
    head = {"Authorization": f"Bearer {connection.token}"}
    body = {**SMALL, "normalizer": "batch", "init_from": start}
    answer = httpx.post(f"{connection.url}/v1/jobs", headers=head, json=body, timeout=60)
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["field"]) == (422, field)
    assert rule in problem["rule"]


def test_a_job_that_has_not_succeeded_has_nothing_to_start_from(client: Client) -> None:
    waiting = client.submit({**SMALL, "normalizer": "batch", "device": "cuda"}).id
    with pytest.raises(InvalidSpec, match="is queued; only one that succeeded"):
        client.submit({**SMALL, "normalizer": "batch", "init_from": waiting})


def test_weights_that_do_not_fit_fail_the_job_with_names_and_shapes(
    client: Client, batch: JobDetail
) -> None:
    job = done(client, normalizer="layer", init_from=batch.id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.failure_kind == "user"
    assert "1.norm1.layer.norm.running_mean (4) is in the file" in job.error.message
    assert "normalizers: swap" in job.error.message


def test_an_ipu_refuses_to_freeze(client: Client) -> None:
    with pytest.raises(InvalidSpec, match="freeze: a compiled update moves every parameter"):
        client.submit({**SMALL, "normalizer": "group", "device": "ipu", "freeze": ["0.*"]})


def test_a_study_starts_from_a_job_with_every_seed_and_kind(
    client: Client, batch: JobDetail, cli: Cli, tmp_path: Path
) -> None:
    study = {
        "name": "swapped",
        "base": {**SMALL, "normalizer": "batch", "init_from": {"from": batch.id[-8:], **SWAP}},
        "axes": {"normalizer": ["batch", "rms"]},
        "seeds": [0, 1],
    }
    (tmp_path / "study.json").write_text(json.dumps(study))
    code, _, err = cli("study", "run", "study.json")
    assert code == 0, err
    cells = client.studies.get("swapped").grid
    jobs = [client.get(str(cell.job)) for cell in cells]
    assert [job.state for job in jobs] == ["succeeded"] * 4
    starts = {
        (job.spec.init_from.job, job.spec.init_from.sha256) for job in jobs if job.spec.init_from
    }
    assert starts == {(batch.id, digest(client, batch.id))}
    assert len({job.fingerprint for job in jobs}) == 4
    again = client.studies.get("swapped")
    assert [cell.key for cell in again.grid] == [job.fingerprint for job in jobs]


def test_another_stack_has_not_the_weights_that_a_rerun_would_need(
    client: Client, batch: JobDetail, connection: Connection
) -> None:
    job = done(client, normalizer="batch", init_from=batch.id, seed=3)
    with Client(connection.url, connection.token) as other:
        with pytest.raises(Conflict, match="name them there as a file in init_from"):
            start_again(job, client, other)
        assert start_again(batch, client, other).state == "queued"
    assert start_again(job, client, client).state == "queued"


def test_the_page_shows_the_start_and_the_weights(
    client: Client, batch: JobDetail, connection: Connection
) -> None:
    job = done(client, normalizer="batch", init_from=batch.id, seed=2)
    head = {"Authorization": f"Bearer {connection.token}"}
    page = httpx.get(f"{connection.url}/jobs/{job.id}", headers=head, timeout=60).text
    assert f'href="/jobs/{batch.id}"' in page
    assert f'href="/v1/jobs/{job.id}/weights"' in page
