"""`normlab study` and `normlab results` with a real stack: killed, completed, tabulated."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any, Dict, List, Tuple

import psutil
import pytest
import yaml

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.client import Client
from normlab.errors import InvalidSpec
from normlab.presentation.tables import cells
from normlab.records import ResultTable, StudyDetail
from normlab.specs.measures import is_timing
from normlab.stacks.connection import Connection
from tests.processes import command_of

from .conftest import Run

pytestmark = pytest.mark.slow

SETTINGS = {
    "NORMLAB_PORT": "0",
    "NORMLAB_SLOTS": "2",
    "OMP_NUM_THREADS": "1",
    "NORMLAB_HEARTBEAT_S": "0.4",
    "NORMLAB_LEASE_S": "10",
    "NORMLAB_REAP_S": "0.5",
    "NORMLAB_POLL_S": "0.3",
}
STUDY: Dict[str, Any] = {
    "name": "small batches",
    "base": {
        "model": {"name": "preresnet8", "width": 4},
        "dataset": {"name": "digits", "train_size": 64, "test_size": 100},
        "epochs": 1, "max_steps": 2, "threads": 1, "device": "cpu",
    },
    "axes": {"normalizer": ["batch", "layer", "instance"], "batch_size": [32, 16, 8]},
    "seeds": 3,
}  # fmt: skip
WITHIN_S = 240.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return str(path)


@pytest.fixture(scope="module")
def study(connection: Connection, client: Client, file: str) -> StudyDetail:
    """A completed study whose command line and worker were killed before."""
    first = command_line(connection, "study", "run", file)
    found = until_succeeded(client, at_least=2)
    first.kill()
    first.communicate()
    until_succeeded(client, at_least=found + 3)
    kill_the_worker()
    second = command_line(connection, "study", "run", file, "--json")
    out, _ = second.communicate(timeout=WITHIN_S)
    assert second.returncode == 0, out
    return client.studies.get(json.loads(out)["id"])


def command_line(connection: Connection, *line: str) -> subprocess.Popen[str]:
    where = {"NORMLAB_URL": connection.url, "NORMLAB_TOKEN": str(connection.token)}
    code = "from normlab.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *line],
        env={**os.environ, **where},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def until_succeeded(client: Client, at_least: int) -> int:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        for found in client.studies.list():
            done = found.counts.get("succeeded", 0)
            if done >= at_least:
                assert done < found.cells, "it ended before anything could be killed"
                return done
        time.sleep(0.05)
    raise AssertionError(f"no {at_least} cells have succeeded in {WITHIN_S:g} s")


def kill_the_worker() -> None:
    children = psutil.Process().children(recursive=True)
    (worker,) = [p for p in children if command_of(p)[1:3] == ["-m", "workers"]]
    worker.send_signal(signal.SIGKILL)


def test_a_study_killed_twice_ends_with_each_cell_once(client: Client, study: StudyDetail) -> None:
    assert study.state == "complete"
    assert study.counts == {"succeeded": 27}
    jobs = list(client.list(study=study.id))
    assert len(jobs) == len({job.fingerprint for job in jobs}) == 27
    assert sorted(job.id for job in jobs) == sorted(str(c.job) for c in study.grid)
    places = {(c.coordinates["normalizer"], c.coordinates["batch_size"], c.seed)
              for c in study.grid}  # fmt: skip
    assert len(places) == 27


def test_a_third_run_of_the_file_runs_nothing(cli: Run, study: StudyDetail, file: str) -> None:
    code, out, _ = cli("study", "run", file, "--no-wait", "--json")
    again = json.loads(out)
    assert (code, again["id"], again["counts"]) == (0, study.id, {"succeeded": 27})


def test_terminal_latex_csv_and_api_agree(cli: Run, client: Client, study: StudyDetail) -> None:
    table = client.studies.results(study.id)
    shown = cells(table)
    _, terminal, _ = cli("results", study.id)
    assert [text for text in shown if text not in terminal] == []
    _, latex, _ = cli("results", study.id, "--format", "latex")
    assert [text for text in shown if text.replace("±", r"$\pm$") not in latex] == []
    _, text, _ = cli("results", study.id, "--format", "csv")
    by_place: Dict[Tuple[str, str], List[float]] = {}
    for line in csv.DictReader(io.StringIO(text)):
        place = (line["normalizer"], line["batch_size"])
        by_place.setdefault(place, []).append(float(line["val/accuracy"]))
    means = {tuple(row.labels.values()): row.mean for row in table.rows}
    assert {place: mean(found) for place, found in by_place.items()} == pytest.approx(means)
    assert {len(found) for found in by_place.values()} == {3}


def test_the_plot_draws_the_numbers_of_the_table(
    cli: Run, client: Client, study: StudyDetail, tmp_path: Path
) -> None:
    from normlab.presentation.plots import draw

    target = tmp_path / "figure.png"
    code, _, err = cli("results", study.id, "--plot", str(target))
    assert (code, err) == (0, "")
    assert target.read_bytes()[:4] == b"\x89PNG"
    table = client.studies.results(study.id)
    drawn = {line.get_label(): list(line.get_ydata()) for line in draw(table).axes[0].lines}
    for name, heights in drawn.items():
        rows = [r for r in table.rows if r.labels["normalizer"] == name]
        rows.sort(key=lambda r: r.coordinates["batch_size"])
        assert heights == pytest.approx([r.mean for r in rows])
    assert len(drawn) == 3


def test_differences_from_a_reference_are_shown_and_drawn_with_their_numbers(
    cli: Run, client: Client, study: StudyDetail, tmp_path: Path
) -> None:
    table = client.studies.differences(study.id, "normalizer", "batch")
    assert len(table.rows) == 6
    code, out, _ = cli("results", study.id, "--against", "normalizer:batch")
    assert (code, "- batch" in out) == (0, True)
    target = tmp_path / "figure.svg"
    against = ["--against", "normalizer:batch", "--spread", "range"]
    code, out, err = cli("results", study.id, "--plot", str(target), *against)
    assert (code, err) == (0, "")
    assert "smallest to largest seed" in target.read_text()
    lines = list(csv.DictReader(io.StringIO((tmp_path / "figure.means.csv").read_text())))
    found = [line["difference from batch"] for line in lines]
    assert [float(text) for text in found if text] == pytest.approx([r.mean for r in table.rows])
    code, _, err = cli("results", study.id, "--against", "batch")
    assert (code, "write AXIS:VALUE" in err) == (2, True)


def test_every_format_is_written(cli: Run, study: StudyDetail, tmp_path: Path) -> None:
    for form in ("markdown", "latex", "csv", "means", "parquet"):
        target = tmp_path / f"table.{form}"
        assert cli("results", study.id, "--format", form, "--output", str(target))[0] == 0
        assert target.stat().st_size > 0
    line = ["--group-by", "normalizer", "--where", "batch_size=8"]
    _, out, _ = cli("results", study.id, "--format", "json", *line)
    rows = ResultTable.model_validate_json(out).rows
    assert [(row.n, row.failed) for row in rows] == [(3, 0)] * 3


def test_csv_has_one_row_per_job_for_every_grouping(cli: Run, study: StudyDetail) -> None:
    _, out, _ = cli("results", study.id, "--format", "csv", "--group-by", "normalizer")
    assert len(out.splitlines()) == 28


def test_two_normalizers_are_compared_seed_by_seed(cli: Run, study: StudyDetail) -> None:
    line = ["results", study.id, "--compare", "normalizer:batch:layer"]
    code, out, _ = cli(*line, "--json")
    rows = json.loads(out)["rows"]
    assert (code, [row["n"] for row in rows]) == (0, [3, 3, 3])
    for row in rows:
        assert row["difference"] == pytest.approx(row["a_mean"] - row["b_mean"])
    assert "difference" in cli(*line)[1]


def test_show_and_ls_name_the_study(cli: Run, study: StudyDetail) -> None:
    _, out, _ = cli("study", "ls")
    assert study.id[-8:] in out
    _, out, _ = cli("study", "show", study.id)
    assert out.count("succeeded") >= 27


def test_an_axis_that_grows_runs_only_the_new_cells(
    cli: Run, client: Client, study: StudyDetail, file: str
) -> None:
    grown = ["-s", "name=larger", "-s", "seeds=4"]
    code, out, err = cli("study", "preview", file, *grown, "--json")
    found = json.loads(out)
    assert (code, found["cells"], found["reusable"], found["epochs"]) == (0, 36, 27, 9), err
    assert found["first"][0]["reused"]
    code, out, _ = cli("study", "run", file, *grown, "--no-wait", "--json")
    larger = client.studies.cancel(json.loads(out)["id"])
    assert (code, larger.cells, larger.reused) == (0, 36, 27)


@pytest.mark.parametrize(
    ("override", "cells"),
    [
        ("seeds=1", 9),
        ("seeds=[2, 1]", 18),
        ("name=of another name", 27),
        ("axes={batch_size: [16], normalizer: [layer, {kind: batch}]}", 6),
        ("base.max_attempts=5", 27),
        ("base.time_limit_s=900", 27),
        ("exclude=[{normalizer: batch}]", 18),
    ],
)
def test_an_override_of_a_finished_study_queues_no_computed_cell(
    cli: Run, client: Client, study: StudyDetail, file: str, override: str, cells: int
) -> None:
    before = len(list(client.list()))
    _, out, _ = cli("study", "preview", file, "-s", override, "--json")
    assert (json.loads(out)["reusable"], json.loads(out)["epochs"]) == (cells, 0)
    code, out, _ = cli("study", "run", file, "-s", override, "--json")
    found = json.loads(out)
    assert (code, found["counts"], found["reused"]) == (0, {"succeeded": cells}, cells)
    jobs = {c.job for c in client.studies.get(found["id"]).grid}
    assert jobs <= {c.job for c in study.grid}
    assert len(list(client.list())) == before
    assert f"{cells} from other jobs" in cli("study", "show", found["id"])[1]


def test_computed_cells_run_again_only_with_reuse_false(
    cli: Run, client: Client, study: StudyDetail, file: str
) -> None:
    again = ["-s", "seeds=[0]", "-s", "name=again", "-s", "reuse=false"]
    _, out, _ = cli("study", "run", file, *again, "--no-wait", "--json")
    found = client.studies.cancel(json.loads(out)["id"])
    assert (found.cells, found.reused) == (9, 0)


def test_a_frame_has_typed_columns_and_every_final_metric(
    client: Client, study: StudyDetail
) -> None:
    frame = client.studies.frame(study.id)
    types = {name: str(frame[name].dtype) for name in list(frame)[:5]}
    assert types == {"normalizer": "string", "batch_size": "int64", "seed": "int64",
                     "job": "string", "state": "category"}  # fmt: skip
    reported = client.get(str(study.grid[0].job)).last
    assert set(frame.columns[5:]) == set(reported)
    for one in study.grid:
        (row,) = frame[frame["job"] == one.job].to_dict("records")
        last = client.get(str(one.job)).last
        assert (row["seed"], row["batch_size"]) == (one.seed, one.coordinates["batch_size"])
        # the time of a pack is not the time of each of its jobs, so tables leave it out
        whole = client.get(str(one.job)).packed is None
        shown = {n: v.value for n, v in last.items() if whole or not is_timing(n)}
        assert {name: row[name] for name in shown} == shown
    assert frame.groupby("batch_size")["val/accuracy"].mean().index.tolist() == [8, 16, 32]


def test_a_frame_of_chosen_metrics_has_no_others(client: Client, study: StudyDetail) -> None:
    frame = client.studies.frame(study.id, ["val/loss", "train/loss"], reduction="best")
    assert list(frame.columns[5:]) == ["val/loss", "train/loss"]
    assert list(client.studies.frame(study.id, "val/loss").columns[5:]) == ["val/loss"]
    job = str(study.grid[3].job)
    assert frame["val/loss"][3] == client.get(job).last["val/loss"].min
    with pytest.raises(InvalidSpec, match="val/accuracy"):
        client.studies.frame(study.id, ["val/acuracy"])


def test_a_study_is_exported_for_tensorboard(cli: Run, study: StudyDetail, tmp_path: Path) -> None:
    code, out, err = cli("export", "--study", study.id, "-m", "val/accuracy",
                         "--tensorboard", str(tmp_path))  # fmt: skip
    assert (code, len(out.splitlines())) == (0, 27), err
    assert len(list(tmp_path.glob("*/events.out.tfevents.*"))) == 27


def test_weights_are_downloaded(cli: Run, study: StudyDetail, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    assert cli("export", str(study.grid[0].job), "--artifacts", "--to", str(tmp_path))[0] == 0
    assert len(load_file(tmp_path / "weights.safetensors")) > 10


def test_a_search_is_watched_until_its_last_trial(cli: Run, tmp_path: Path) -> None:
    search = {"sampler": "random", "trials": 3, "parallel": 2,
              "space": {"optimizer.lr": {"low": 0.01, "high": 0.2, "log": True}}}  # fmt: skip
    path = tmp_path / "search.json"
    base = {**STUDY["base"], "normalizer": "batch"}
    path.write_text(json.dumps({"name": "rates", "base": base, "search": search}))
    code, out, err = cli("study", "run", str(path), "--json")
    found = json.loads(out)
    assert (code, found["state"], found["counts"]) == (0, "complete", {"succeeded": 3}), err


def test_a_preview_warns_of_a_rule_that_matches_no_cell(cli: Run, file: str) -> None:
    override = "exclude=[{normalizer: batch}, {normalizer: gruop}]"
    code, _, err = cli("study", "preview", file, "-s", override)
    warned = [line for line in err.splitlines() if line.startswith("warning")]
    assert (code, warned) == (
        0,
        ['warning: no cell matches the rule {"normalizer": "gruop"} of exclude'],
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("axes={no_such: [1]}", "axes.no_such"),
        ("axes={lr: [1]}", "did you mean 'optimizer.lr'?"),
        ("axes={optimizer.rate: [1]}", "known are batch_scaling, "),
        ("axes={batch_size: []}", "at least one value"),
        ("axes={batch_size: [0, 8]}", "axes.batch_size"),
        ("seeds=9999", "at most 20000 cells"),
        ("exclude=[{batch_size: [32, 16, 8]}]", "exclude"),
        ("exclude=[{batchsize: 8}]", "exclude.0.batchsize: 'batchsize' is no axis of the study"),
        ("colour=red", "colour"),
    ],
)
def test_an_invalid_grid_is_one_line_and_exit_2(
    cli: Run, file: str, override: str, words: str
) -> None:
    for command in ("run", "preview"):
        code, out, err = cli("study", command, file, "-s", override)
        assert (code, out) == (2, "")
        assert err.startswith("normlab: ")
        assert err.count("\n") == 1
        assert words in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--metric", "val/acuracy"], "val/accuracy"),
        (["--reduction", "middle"], "mean_last:K"),
        (["--group-by", "width"], "normalizer, batch_size"),
        (["--group-by", "normalizer"], "pool batch_size"),
        (["--group-by", "normalizer", "--format", "latex"], "or choose a value with where"),
        (["--where", "batch_size"], "PATH=VALUE"),
        (["--where", "batch_size=7"], "one of "),
        (["--interval", "guess"], "bootstrap"),
        (["--format", "word"], "markdown"),
        (["--format", "parquet"], "--output"),
        (["--plot", "figure.bmp"], ".png"),
        (["--compare", "normalizer:batch"], "AXIS:A:B"),
        (["--compare", "normalizer:batch:online"], "batch, layer, instance"),
    ],
)
def test_a_question_without_an_answer_is_one_line_and_exit_2(
    cli: Run, study: StudyDetail, line: List[str], words: str
) -> None:
    code, out, err = cli("results", study.id, *line)
    assert (code, out) == (2, "")
    assert err.startswith("normlab: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_number_of_members_is_refused_with_the_field_that_stands_in_the_way(
    cli: Run, file: str
) -> None:
    base = "base={acceleration: kernels}"
    for command in ("run", "preview"):
        code, out, err = cli("study", command, file, "-s", "pack=4", "-s", base)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "pack: no two cells can train in one pack: acceleration: 'kernels'" in err


def test_a_preview_lists_what_would_be_refused(cli: Run, file: str) -> None:
    odd = "axes={normalizer: [batch, {kind: group, groups: 3}]}"
    code, out, err = cli("study", "preview", file, "-s", odd)
    assert code == 2
    assert "cells" in out
    assert "refused: " in err
    assert "groups" in err


def test_export_requires_exactly_one_source(cli: Run) -> None:
    for line in (["export"], ["export", "JOB", "--study", "STUDY"], ["export", "J", "--artifacts"]):
        code, out, err = cli(*line)
        assert (code, out, err.count("\n")) == (2, "", 1)
