"""Seeds are added on a real stack until a comparison is decided or the limit is reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest
import yaml

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.client import Client
from normlab.stacks.connection import Connection

pytestmark = pytest.mark.slow

SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "2", "OMP_NUM_THREADS": "1",
            "NORMLAB_POLL_S": "0.3"}  # fmt: skip
AXES = {"batch_size": [8, 16]}
BASE: Dict[str, Any] = {
    "normalizer": "batch",
    "model": {"name": "preresnet8", "width": 4},
    "dataset": {"name": "digits", "train_size": 256, "test_size": 200},
    "epochs": 1, "batch_size": 16, "threads": 1, "device": "cpu",
}  # fmt: skip
Run = Callable[..., Tuple[int, str, str]]


def test_a_rate_that_trains_is_soon_shown_to_be_better_than_none(
    cli: Run, connection: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "rates.yaml"
    decide = {"by": 0.02, "at_most": 18, "rarest": 0.5}
    axes = {"optimizer.lr": [1e-9, 0.1]}
    dataset = {"name": "digits", "train_size": 512, "test_size": 200}
    base = {**BASE, "dataset": dataset, "epochs": 5}
    file.write_text(yaml.safe_dump({"name": "rates", "base": base, "axes": axes, "decide": decide}))
    code, out, err = cli("study", "preview", str(file))
    assert (code, err) == (0, "")
    assert "cells compared, at most" in out
    code, out, _ = cli("study", "run", str(file))
    assert code == 0
    assert "0.1 is better than 1e-09" in " ".join(out.split())
    with Client(connection.url, connection.token) as client:
        (study,) = client.studies.list()
        (row,) = client.studies.decision(study.id).rows
        assert (study.state, row.verdict) == ("complete", "shows")
        assert row.looks[0].seeds == 6
        assert study.cells == 2 * row.looks[-1].seeds < 36
    for line in (["study", "show"], ["results"]):
        code, out, _ = cli(*line, study.id)
        assert (code, "1 shows" in out) == (0, True)


def test_comparisons_undecided_at_the_limit_are_reported(cli: Run, connection: Connection) -> None:
    with Client(connection.url, connection.token) as client:
        axes = {"normalizer": ["batch", "layer"]}
        base = {**BASE, "max_steps": 1}
        study = client.studies.create({"name": "alike", "base": base, "axes": axes, "seeds": 2})
        client.studies.wait(study.id)
    code, out, _ = cli("compare", study.id, "layer", "batch")
    assert (code, "difference" in out) == (0, True)
    line = ["--decide", "--by", "0.0001", "--at-most", "7", "--rarest", "0.5", "--json"]
    code, out, _ = cli("compare", study.id, "layer", "batch", *line)
    found = json.loads(out)
    assert (code, found["state"], found["counts"]) == (0, "complete", {"undecided": 1})
    assert [look["seeds"] for look in found["rows"][0]["looks"]] == [6, 7]
    assert found["rows"][0]["looks"][-1]["more"] >= 1
    code, out, err = cli("study", "decide", study.id, "--by", "0.5")
    assert (code, out) == (2, "")
    assert "its question cannot be changed" in err


def test_bad_questions_are_one_line_and_exit_2(cli: Run, connection: Connection) -> None:
    with Client(connection.url, connection.token) as client:
        study = client.studies.create({"name": "bad", "base": BASE, "axes": AXES})
        client.studies.cancel(study.id)
    for line, said in (
        (["compare", study.id, "8", "17", "--decide"], "no axis has both"),
        (["compare", study.id, "8", "16", "--decide", "--by", "0"], "greater than 0"),
        (["study", "decide", study.id, "--at-most", "2"], "greater than or equal to 6"),
        (["study", "decide", study.id, "--axis", "width"], "one of batch_size"),
    ):
        code, out, err = cli(*line)
        assert (code, out, said in err) == (2, "", True), err
        assert len(err.strip().splitlines()) == 1
