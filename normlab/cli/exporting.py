"""`normlab export`: what a job measured and left, as files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Optional, TextIO, Union

import typer

from normlab.cli.completion import JobArgument
from normlab.cli.connecting import connect
from normlab.cli.output import examples, print_json

if TYPE_CHECKING:
    from normlab.records import SeriesRecord

Row = List[Union[str, int, float, None]]
HEAD = ["job", "metric", "step", "value", "time"]


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command(
        epilog=examples(
            "normlab export 01JX... > metrics.csv",
            "normlab export 01JX... --metric val/accuracy --json",
            "normlab export 01JX... --artifacts --to folder/",
        )
    )(export)


def export(
    ctx: typer.Context,
    job: str = JobArgument,
    metric: List[str] = typer.Option([], "--metric", "-m", help="Of these only; default: all."),
    artifacts: bool = typer.Option(False, "--artifacts", help="Download the job's files too."),
    to: Optional[Path] = typer.Option(None, "--to", help="A folder; default: standard output."),
    as_json: bool = typer.Option(False, "--json", help="JSON instead of CSV."),
) -> None:
    """Write a job's metrics, every point, as CSV or JSON; and its files, if asked."""
    with connect(ctx) as client:
        series = client.metrics(job, *metric)
        if to is None:
            _write(job, series, sys.stdout, as_json)
            return
        to.mkdir(parents=True, exist_ok=True)
        name = to / ("metrics.json" if as_json else "metrics.csv")
        with name.open("w", newline="") as file:
            _write(job, series, file, as_json)
        written = [name]
        if artifacts:
            for artifact in client.artifacts(job):
                # a name of the server's is no path of ours
                target = to / Path(artifact.name).name
                written.append(client.download(job, artifact.name, target))
    if as_json:
        print_json([str(path) for path in written])
    else:
        print(*written, sep="\n")


def _write(job: str, series: Dict[str, SeriesRecord], file: TextIO, as_json: bool) -> None:
    if as_json:
        plain = {name: one.model_dump(mode="json") for name, one in series.items()}
        json.dump(plain, file)
        file.write("\n")
        return
    writer = csv.writer(file)
    writer.writerow(HEAD)
    for one in series.values():
        writer.writerows(_rows(job, one))


def _rows(job: str, series: SeriesRecord) -> Iterator[Row]:
    for step, value, moment in zip(series.steps, series.values, series.times):
        yield [job, series.name, step, value, moment]
