"""`normlab compare` and `normlab study decide`: add seeds until a comparison is decided."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Dict, Optional

import typer

from normlab.cli.comparisons import print_comparison, print_verdicts
from normlab.cli.completion import metric_names, one_of
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json
from normlab.cli.studies import Study, StudyProgress, commands as of_studies

if TYPE_CHECKING:
    from normlab.records import StudyDetail

By = typer.Option(0.01, help="The margin: the effect that must not be missed.")
Power = typer.Option(0.9, help="Probability that an effect of --by shows, 0.5 to 0.95.")
AtMost = typer.Option(64, "--at-most", help="Largest number of seeds of each cell, 6 to 1000.")
Rarest = typer.Option(
    0.2, help="A collapse of at least this share of the seeds occurs before the first look."
)
Metric = typer.Option(
    None,
    "--metric",
    "-m",
    help="The metric that is compared; default: val/accuracy, or what the task has in its place.",
    show_default=False,
    autocompletion=metric_names,
)
Reduction = typer.Option(
    "last",
    help="How a job's metric becomes one number: last, best, area or mean_last:K.",
    autocompletion=one_of("last", "best", "area", "mean_last:"),
)
Axis = typer.Option(None, help="The path whose values are compared.")
Wait = typer.Option(True, help="Show progress until everything is decided or the limit is reached.")


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab compare 5f0c9a41 online batch                       with the existing seeds",
        "normlab compare 5f0c9a41 online batch --decide --by 0.02    add seeds until decided",
    )
)
def compare(
    ctx: typer.Context,
    study: str = Study,
    a: str = typer.Argument(..., help="A value of an axis, as tables show it.", show_default=False),
    b: str = typer.Argument(..., help="Another value of the same axis.", show_default=False),
    decide: bool = typer.Option(False, "--decide", help="Add seeds until it is decided."),
    by: float = By,
    power: float = Power,
    at_most: int = AtMost,
    rarest: float = Rarest,
    metric: Optional[str] = Metric,
    reduction: str = Reduction,
    axis: Optional[str] = Axis,
    wait: bool = Wait,
    as_json: bool = AsJson,
) -> None:
    """Say whether A is better than B, seed by seed; with --decide, add seeds until it is clear."""
    with connect(ctx) as client:
        found = client.studies.summary(study)
        path = axis or _axis_of(found, a, b)
        if not decide:
            question = {"metric": metric, "reduction": reduction}
            print_comparison(client, study, [path, a, b], question, as_json)
            return
        contrast = {"axis": path, "against": b, "values": [a]}
        asked = {"by": by, "power": power, "at_most": at_most, "rarest": rarest}
        shown = {"metric": metric or _shown(found), "reduction": reduction}
        _decide(client, study, {**asked, **shown, "compare": contrast}, wait, as_json)


@of_studies.command("decide", epilog=examples("normlab study decide 5f0c9a41 --by 0.02"))
def decide_study(
    ctx: typer.Context,
    study: str = Study,
    by: float = By,
    power: float = Power,
    at_most: int = AtMost,
    rarest: float = Rarest,
    metric: Optional[str] = Metric,
    reduction: str = Reduction,
    axis: Optional[str] = Axis,
    against: Optional[str] = typer.Option(None, help="The value that others are compared with."),
    wait: bool = Wait,
    as_json: bool = AsJson,
) -> None:
    """Add seeds until it is clear whether each value of an axis is better than the first one."""
    with connect(ctx) as client:
        found = client.studies.summary(study)
        path = axis or found.paths[0]
        contrast = {"axis": path, "against": against}
        asked = {"by": by, "power": power, "at_most": at_most, "rarest": rarest}
        shown = {"metric": metric or _shown(found), "reduction": reduction}
        _decide(client, study, {**asked, **shown, "compare": contrast}, wait, as_json)


def _shown(study: StudyDetail) -> str:
    from normlab.specs.studies import headline_of

    return headline_of(study.spec.base)


def _decide(client: Any, study: str, asked: Dict[str, Any], wait: bool, as_json: bool) -> None:
    record = client.studies.decide(study, **asked)
    if wait:
        print(f"study {record.id}: deciding", file=sys.stderr)
        client.studies.wait(record.id, None if as_json else StudyProgress())
    table = client.studies.decision(record.id)
    if as_json:
        print_json(table)
    else:
        print_verdicts(table)


def _axis_of(study: StudyDetail, a: str, b: str) -> str:
    from normlab.errors import InvalidSpec
    from normlab.specs.cells import label

    axes = {path: [label(v) for v in of] for axis in study.spec.axes for path, of in axis.items()}
    found = [path for path, names in axes.items() if {a, b} <= set(names)]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"{path}: {', '.join(names)}" for path, names in axes.items())
    rule = "name the --axis" if found else "no axis has both"
    raise InvalidSpec(f"{a} and {b}: {rule}; the study varies {known}")
