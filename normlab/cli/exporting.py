"""`normlab export`: write metrics and files of jobs to files or to another server."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, TextIO, Union

import typer

from normlab.cli.completion import job_ids, metric_names, study_names
from normlab.cli.connecting import connect
from normlab.cli.forms import Form, choose, chosen, text_of
from normlab.cli.output import examples, print_each
from normlab.not_finite import taken_out

if TYPE_CHECKING:
    from normlab.exports.run import Run

Row = List[Union[str, int, float, None]]
HEAD = ["job", "metric", "step", "value", "time"]
Job = typer.Argument(
    None, help="A job's id.", autocompletion=job_ids, metavar="[JOB]", show_default=False
)


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab export 5f0c9a41 > metrics.csv",
        "normlab export 5f0c9a41 --metric val/accuracy --json",
        "normlab export 5f0c9a41 --artifacts --to folder/     weights.safetensors too",
        "normlab export --study 5f0c9a41 --tensorboard runs/",
        "normlab export --study 5f0c9a41 --mlflow http://127.0.0.1:5000 --artifacts",
    )
)
def export(
    ctx: typer.Context,
    job: Optional[str] = Job,
    study: Optional[str] = typer.Option(
        None, "--study", help="Export every job of this study.", autocompletion=study_names
    ),
    metric: List[str] = typer.Option(
        [],
        "--metric",
        "-m",
        help="Only these metrics; default: all.",
        autocompletion=metric_names,
    ),
    artifacts: bool = typer.Option(False, "--artifacts", help="Also export the job's files."),
    to: Optional[Path] = typer.Option(
        None, "--to", help="Write to this folder; default: standard output."
    ),
    tensorboard: Optional[Path] = typer.Option(
        None, metavar="FOLDER", help="Write TensorBoard event files below this folder."
    ),
    mlflow: Optional[str] = typer.Option(
        None, metavar="URL", help="Create runs on this MLflow server."
    ),
    experiment: Optional[str] = typer.Option(
        None, help="MLflow's experiment; default: the study's name, or normlab."
    ),
    output: Form = typer.Option(
        Form.csv, "--output", "-o", help="csv, json or yaml.", metavar="FORM", show_choices=False
    ),
    as_json: bool = typer.Option(False, "--json", help="The same as --output json."),
) -> None:
    """Export every point of the metrics of jobs: CSV, JSON, TensorBoard files, MLflow runs.

    CSV and YAML contain NaN and infinity as numbers. JSON has null for them, and `not_finite` says
    where each one is.
    """
    if (job is None) == (study is None):
        raise typer.BadParameter("name one job, or one study with --study")
    if artifacts and to is None and mlflow is None:
        raise typer.BadParameter("--artifacts needs a place for the files: --to FOLDER or --mlflow")
    form = Form.json if as_json else output
    if form is Form.table:
        raise typer.BadParameter("points are exported as csv, json or yaml; see `normlab tail`")
    as_json = choose(form) and form is not Form.csv
    with connect(ctx) as client:
        runs = _runs(client, job, study, metric)
        if tensorboard is not None:
            written = _to_tensorboard(runs, tensorboard)
        elif mlflow is not None:
            name = experiment or (client.studies.summary(study).name if study else "normlab")
            written = _to_mlflow(client, runs, mlflow, name, artifacts)
        elif to is None:
            _write(runs, sys.stdout, as_json, by_job=study is not None)
            return
        else:
            written = _to_folders(client, runs, to, artifacts, as_json, nested=bool(study))
        print_each(written, as_json, str)


def _runs(
    client: Any, job: Optional[str], study: Optional[str], metric: List[str]
) -> Iterator[Run]:
    from normlab.exports.run import read, read_study

    if study is not None:
        return read_study(client, study, metric)
    return iter([read(client, str(job), metric)])


def _to_tensorboard(runs: Iterator[Run], folder: Path) -> Iterator[str]:
    from normlab.exports.tensorboard import write

    for run in runs:
        yield str(write(run, folder))


def _to_mlflow(
    client: Any, runs: Iterator[Run], url: str, experiment: str, artifacts: bool
) -> Iterator[str]:
    from normlab.exports.mlflow import MlflowServer

    with MlflowServer(url) as server:
        for run in runs:
            with tempfile.TemporaryDirectory(prefix="normlab-export-") as folder:
                files = _download(client, run, Path(folder)) if artifacts else []
                made = server.write(run, experiment, files)
            yield made


def _to_folders(
    client: Any, runs: Iterator[Run], to: Path, artifacts: bool, as_json: bool, nested: bool
) -> Iterator[str]:
    for run in runs:
        folder = to / run.job.id if nested else to
        folder.mkdir(parents=True, exist_ok=True)
        points = folder / f"metrics.{chosen().value}"
        with points.open("w", newline="") as file:
            _write(iter([run]), file, as_json)
        yield str(points)
        if artifacts:
            yield from map(str, _download(client, run, folder))


def _download(client: Any, run: Run, folder: Path) -> List[Path]:
    # a name from the server must not become a path here
    return [
        client.download(run.job.id, artifact.name, folder / Path(artifact.name).name)
        for artifact in client.artifacts(run.job.id)
    ]


def _write(runs: Iterator[Run], file: TextIO, as_json: bool, by_job: bool = False) -> None:
    if as_json:
        found = {run.job.id: _plain(run) for run in runs}
        plain = found if by_job else next(iter(found.values()))
        json_line = chosen() is Form.json  # with many points, not each gets a line
        file.write(f"{json.dumps(taken_out(plain)) if json_line else text_of(plain)}\n")
        return
    writer = csv.writer(file)
    for i, run in enumerate(runs):  # write nothing before a run exists
        writer.writerows([HEAD] if i == 0 else [])
        writer.writerows(_rows(run))


def _plain(run: Run) -> Dict[str, Any]:
    return {name: series.model_dump(mode="json") for name, series in run.series.items()}


def _rows(run: Run) -> Iterator[Row]:
    from normlab.presentation.columns import plain_cell

    for series in run.series.values():
        for step, value, moment in zip(series.steps, series.numbers(), series.times):
            yield [run.job.id, plain_cell(series.name), step, plain_cell(value), moment]
