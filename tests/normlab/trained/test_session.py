"""`normlab load` opens Python with what a job has learned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from normlab.client import Client
from normlab.records import JobDetail
from normlab.stacks.connection import Connection


def load(connection: Connection, job: str, typed: str) -> subprocess.CompletedProcess[str]:
    place = ["--url", connection.url, "--token", str(connection.token)]
    return subprocess.run(
        [str(Path(sys.executable).parent / "normlab"), *place, "load", job],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )


def test_the_network_is_there_with_its_test_set_and_its_numbers(
    connection: Connection, batch: JobDetail
) -> None:
    typed = "print(len(data), job.id, sum(p.numel() for p in model.parameters()) > 0)\n"
    done = load(connection, batch.id[-12:], typed)
    assert done.returncode == 0, done.stderr
    assert f"{batch.id} True" in done.stdout
    accuracy = batch.last["val/accuracy"].value
    assert f"val/accuracy  {accuracy!r}  {accuracy!r}" in done.stderr  # computed, and on record


def test_a_job_without_weights_is_refused_in_one_line(
    connection: Connection, client: Client, batch: JobDetail
) -> None:
    spec = {**batch.spec.model_dump(mode="json"), "device": "cuda"}
    waiting = client.submit(spec).id  # no worker of this stack has a GPU
    done = load(connection, waiting, "")
    assert (done.returncode, done.stdout) == (2, "")
    assert "only one that succeeded has final weights" in done.stderr
    client.cancel(waiting)
