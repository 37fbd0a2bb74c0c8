"""An ended job is continued by a longer one, through the service, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.client import Client
from normlab.errors import Conflict, InvalidSpec
from normlab.records import JobDetail
from tests.normlab.trained.conftest import SMALL, Cli, done

FIELDS = {"normalizer": "batch", "schedule": "constant"}


@pytest.fixture(scope="module")
def short(client: Client) -> JobDetail:
    """A job of one epoch at a constant rate."""
    return done(client, **FIELDS)


def test_a_continued_job_ends_with_the_bits_of_the_longer_one(
    client: Client, short: JobDetail, cli: Cli, tmp_path: Path
) -> None:
    at_once = done(client, **FIELDS, epochs=3)
    code, out, err = cli("continue", short.id[-8:], "--epochs", "3", "--wait", "--json")
    assert code == 0, err
    job = client.get(next(j.id for j in client.list(limit=1)))
    assert job.id in out
    assert job.attempts[-1].resumed_from_step == 12
    for name in ("val/accuracy", "val/loss", "train/loss", "train/accuracy"):
        assert job.last[name].value == at_once.last[name].value, name
    a, b = (load_file(client.save_weights(one.id, tmp_path / one.id)) for one in (job, at_once))
    assert all(a[name].equal(b[name]) for name in b)
    _, shown, _ = cli("show", job.id)
    assert f"from update 12 of job {short.id}" in shown
    # and a third time, from the longer one
    again = client.wait(client.go_on(job.id, epochs=4).id, timeout_s=240)
    assert (again.state, again.attempts[-1].resumed_from_step) == ("succeeded", 36)


def test_a_cosine_is_refused_with_the_reason_unless_it_is_asked_for(
    client: Client, batch: JobDetail, cli: Cli
) -> None:
    code, _, err = cli("continue", batch.id, "--epochs", "2")
    assert (code, err.count("\n")) == (2, 1)
    assert "schedule: 'cosine' depends on the length of the training" in err
    assert "--anyway" in err
    job = client.wait(client.go_on(batch.id, epochs=2, anyway=True).id, timeout_s=240)
    assert job.state == "succeeded", job.error
    assert job.spec.continues is not None
    assert job.spec.continues.schedule == "new"


def test_what_cannot_be_continued_is_refused(client: Client, short: JobDetail) -> None:
    with pytest.raises(InvalidSpec, match="epochs: 12 updates in total were requested, and 12 are"):
        client.go_on(short.id, epochs=1)
    with pytest.raises(InvalidSpec, match="epochs: give the total number of epochs"):
        client.go_on(short.id)
    waiting = client.submit({**SMALL, **FIELDS, "device": "cuda"}).id
    with pytest.raises(Conflict, match="is queued; it can be continued once it has ended"):
        client.go_on(waiting, epochs=2)
    client.cancel(waiting)
    with pytest.raises(Conflict, match="wrote no checkpoint"):
        client.go_on(waiting, epochs=2)


def test_only_the_length_may_differ(client: Client, short: JobDetail) -> None:
    created = client.go_on(short.id, epochs=2)
    spec = client.get(created.id).spec.model_dump(mode="json")
    client.wait(created.id, timeout_s=240)
    with pytest.raises(InvalidSpec, match="differs in seed; only the length may"):
        client.submit({**spec, "seed": 5})
    with pytest.raises(InvalidSpec, match="keeps no checkpoint of update 12 with the SHA-256 00"):
        client.submit({**spec, "continues": {**spec["continues"], "sha256": "0" * 64}})
    with pytest.raises(
        InvalidSpec, match="device: continuing on auto after cpu would not give the same bits"
    ):
        client.submit({**spec, "device": "auto"})
