"""`normlab results`: tables and plots of a study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

import typer

from normlab.cli.comparisons import LABELS, print_comparison, records_of
from normlab.cli.completion import groupings, metric_names, one_of, study_names
from normlab.cli.connecting import connect
from normlab.cli.forms import Form, choose
from normlab.cli.output import AsJson, examples, print_json, print_table

if TYPE_CHECKING:
    from normlab.presentation.figures import FigureQuestion
    from normlab.records import DifferenceTable, ResultRow, ResultTable

BARS = "▁▂▃▄▅▆▇█"
_SPARK_POINTS = 12
_MOST_SPARKS = 60


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab results 5f0c9a41",
        'normlab results "small batches"',
        "normlab results 5f0c9a41 --metric val/loss --reduction best",
        "normlab results 5f0c9a41 --group-by normalizer --where batch_size=2",
        "normlab results 5f0c9a41 --interval bootstrap --confidence 0.9",
        "normlab results 5f0c9a41 --format latex > table.tex",
        "normlab results 5f0c9a41 --format parquet --output rows.parquet",
        "normlab results 5f0c9a41 --format means --output means.csv",
        "normlab results 5f0c9a41 --plot figure.pdf --against normalizer:batch --spread sd",
        "normlab results 5f0c9a41 --compare normalizer:batch:online",
    )
)
def results(
    ctx: typer.Context,
    study: str = typer.Argument(
        ...,
        help="A study's id, its end as `study ls` shows it, or its name.",
        show_default=False,
        autocompletion=study_names,
    ),
    metric: Optional[str] = typer.Option(
        None,
        "--metric",
        "-m",
        help="What to tabulate; default: val/accuracy, or what the task has in its place.",
        show_default=False,
        autocompletion=metric_names,
    ),
    reduction: str = typer.Option(
        "last",
        help="last, best, area (under the curve), mean_last:K.",
        autocompletion=one_of("last", "best", "area", "mean_last:"),
    ),
    group_by: Optional[List[str]] = typer.Option(
        None,
        "--group-by",
        "-g",
        help="Paths that form the rows (repeatable); with seed: one row per job. Omitted "
        "paths may not vary within a row.",
        autocompletion=groupings,
    ),
    where: Optional[List[str]] = typer.Option(
        None, "--where", "-w", metavar="PATH=VALUE", help="Only cells with this value (repeatable)."
    ),
    interval: str = typer.Option(
        "t", help="t or bootstrap.", autocompletion=one_of("t", "bootstrap")
    ),
    confidence: float = typer.Option(0.95, help="Coverage of the interval."),
    form: Optional[str] = typer.Option(
        None,
        "--format",
        "-f",
        help="markdown, latex, means (CSV), csv or parquet (one row per job), json.",
        autocompletion=one_of("markdown", "latex", "means", "csv", "parquet", "json"),
    ),
    output: Optional[str] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FORM|FILE",
        help="table, json, yaml or csv; any other word is a file to write --format to.",
    ),
    plot: Optional[Path] = typer.Option(
        None, help="Draw a plot into this .png, .svg or .pdf file, with its numbers beside it."
    ),
    spread: str = typer.Option(
        "interval",
        help="What a plot shows around a mean: interval, sd, range (of seeds), none.",
        autocompletion=one_of("interval", "sd", "range", "none"),
    ),
    against: Optional[str] = typer.Option(
        None,
        metavar="AXIS:VALUE",
        help="A reference; rows that differ from it, paired by seed, are marked.",
    ),
    compare: Optional[str] = typer.Option(
        None, metavar="AXIS:A:B", help="Compare two values: A minus B over their common seeds."
    ),
    as_json: bool = AsJson,
) -> None:
    """Print the results of a study: means and intervals over seeds, for each combination."""
    from normlab.cli.comparisons import print_verdicts
    from normlab.presentation.figures import FigureQuestion
    from normlab.specs.cells import read_where

    question: Dict[str, Any] = {"metric": metric, "reduction": reduction, "interval": interval,
                "confidence": confidence}  # fmt: skip
    if output in {one.value for one in Form}:
        as_json, output = choose(Form(output)), None
    _check_pairs(plot, form, against, as_json)
    with connect(ctx) as client:
        if compare:
            print_comparison(client, study, compare.split(":"), question, as_json)
            return
        grouping = None if form in ("csv", "parquet") else group_by  # these have one row per job
        chosen = read_where(where or [])
        table = client.studies.results(study, group_by=grouping, where=chosen, **question)
        compared = _differences(client, study, against, chosen, question)
        if plot:
            _plot(FigureQuestion(table=table, spread=spread, against=compared), plot)
        elif as_json or form == "json":
            print_json(table, records_of(table.rows), [*table.group_by, *_numbers()])
        elif form:
            _write(table, form, None if output is None else Path(output))
        else:
            print_results(client, table, compared)
            if client.studies.summary(study).spec.decide:
                print_verdicts(client.studies.decision(study))


def _check_pairs(
    plot: Optional[Path], form: Optional[str], against: Optional[str], as_json: bool
) -> None:
    """Refuse combinations of options of which one would be ignored."""
    from normlab.errors import InvalidSpec

    if plot and (as_json or form):
        raise InvalidSpec(f"--plot {plot} writes its numbers beside it; leave out -o and --format")
    if as_json and form not in (None, "json"):
        raise InvalidSpec(f"--format {form}: cannot be used with -o or --json")
    if against and not plot and (as_json or form):
        rule = "only tables and plots show these differences; for programs use --compare AXIS:A:B"
        raise InvalidSpec(f"--against {against}: {rule}")


def print_results(
    client: Any, table: ResultTable, against: Optional[DifferenceTable] = None
) -> None:
    """
    Print a table for people, with the curve of each row's first job as a sparkline.

    With *against*, also print the difference of each row from its reference, and its adjusted p.
    """
    from normlab.presentation.tables import cells

    sparks = [_spark_of(client, row, table.metric) for row in table.rows[:_MOST_SPARKS]]
    sparks += [""] * (len(table.rows) - len(sparks))
    compared = _compared(table, against) if against is not None else [[] for _ in table.rows]
    course = ["curve"] if any(sparks) else []  # curves of one point have no sparkline
    rows = [
        [*row.labels.values(), text, row.n, *found, *([spark] if course else [])]
        for row, text, found, spark in zip(table.rows, cells(table), compared, sparks)
    ]
    heads = [f"- {against.against}", "p"] if against is not None else []
    print_table([*table.group_by, table.metric, "n", *heads, *course], rows)
    for one in against.left_out if against is not None else []:
        print(f"without a difference: {one}")


def _compared(table: ResultTable, against: DifferenceTable) -> List[List[str]]:
    from normlab.presentation.digits import shown
    from normlab.presentation.tables import difference_of
    from normlab.records.results import half_width

    found = [difference_of(row, table, against) for row in table.rows]
    halves = [half_width(f.low, f.high) if f else None for f in found]
    differences = [(f.mean if f else None, half) for f, half in zip(found, halves)]
    texts = shown(differences, table.metric, [row.mean for row in table.rows])
    ps = [f.p_adjusted if f else None for f in found]
    said = ["" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in ps]
    return [[str(text), p] for text, p in zip(texts, said)]


def _differences(
    client: Any,
    study: str,
    against: Optional[str],
    where: Mapping[str, str],
    question: Mapping[str, Any],
) -> Optional[DifferenceTable]:
    from normlab.errors import InvalidSpec

    if against is None:
        return None
    axis, colon, value = against.partition(":")
    if not colon:
        raise InvalidSpec(f"--against {against}: write AXIS:VALUE, such as normalizer:batch")
    found: DifferenceTable = client.studies.differences(study, axis, value, where, **question)
    return found


def _numbers() -> List[str]:
    from normlab.records import ResultRow

    return [name for name in ResultRow.model_fields if name not in LABELS]


def _plot(question: FigureQuestion, target: Path) -> None:
    from normlab.presentation.figures import beside
    from normlab.presentation.plots import save

    print(f"wrote {save(question.table, target, question.spread, question.against)}")
    data = target.with_name(f"{target.stem}.means.csv")
    data.write_text(beside(question)["means.csv"], encoding="utf-8")
    print(f"wrote {data}")


def sparkline(values: Sequence[float]) -> str:
    """Draw *values* as a line of bars, with a space for each that is not finite."""
    known = list(filter(math.isfinite, values))
    if len(known) < 2:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    top = len(BARS) - 1
    return "".join(BARS[round((v - low) / span * top)] if math.isfinite(v) else " " for v in values)


def _spark_of(client: Any, row: ResultRow, metric: str) -> str:
    if not row.values:
        return ""
    job = row.jobs[min(row.values)]  # a sketch of one seed, from which nobody reads numbers
    return sparkline(client.metrics(job, metric, max_points=_SPARK_POINTS)[metric].numbers())


def _write(table: ResultTable, form: str, output: Optional[Path]) -> None:
    from normlab.errors import InvalidSpec
    from normlab.presentation.tables import parquet, render, tidy

    if form != "parquet":
        text = render(table, form)
        if output is None:
            print(text, end="")
        else:
            output.write_text(text, encoding="utf-8")
    elif output is None:
        raise InvalidSpec("Parquet is not text: name a file with --output")
    else:
        output.write_bytes(parquet(tidy(table)))
