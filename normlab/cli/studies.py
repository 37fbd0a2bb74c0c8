"""`normlab study ...`: run and watch a grid of jobs from one short file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from normlab.cli.completion import study_fields, study_names
from normlab.cli.connecting import connect
from normlab.cli.empty_lists import refuse_unknown, why_no_study
from normlab.cli.output import (
    AsJson,
    examples,
    print_json,
    print_rows,
    print_table,
    print_told,
    short_ids,
)
from normlab.cli.plugins import Code, with_code
from normlab.cli.projects import OfProject, Project
from normlab.cli.study_previews import print_preview
from normlab.cli.trash_lists import KEPT_UNTIL, moment
from normlab.counting import counted

if TYPE_CHECKING:
    from normlab.records import StudyRecord

File = typer.Argument(..., help="JSON or YAML; - reads standard input.", show_default=False)
Study = typer.Argument(
    ...,
    help="A study's id, its end as `ls` shows it, or its name.",
    show_default=False,
    autocompletion=study_names,
)
Set = typer.Option(
    [],
    "--set",
    "-s",
    metavar="FIELD=VALUE",
    help="Set a field, for example base.epochs=2.",
    autocompletion=study_fields,
)
SPARE = ["age", "varies"]  # columns of a list in a narrow terminal
STATES = ("succeeded", "running", "queued", "planned", "failed", "cancelled", "pruned", "missing")

commands = typer.Typer(
    name="study", no_args_is_help=True, help="Run a grid of jobs, and complete it."
)


def _run_examples() -> str:
    return examples(
        "normlab study run grid.yaml",
        "normlab study run grid.yaml --set seeds=5       five seeds: only new cells run",
        "normlab study run grid.yaml --no-wait",
        "A file: {name: small batches, base: {epochs: 5}, seeds: 3,",
        "         axes: {normalizer: [batch, group, online], batch_size: [32, 8, 2]}}",
    )


@commands.command(epilog=_run_examples())
def run(
    ctx: typer.Context,
    file: str = File,
    overrides: List[str] = Set,
    extend: Optional[str] = typer.Option(
        None,
        "--extend",
        metavar="STUDY",
        help="Extend this study to the larger grid of the file.",
        autocompletion=study_names,
    ),
    project: Optional[str] = Project,
    code: List[str] = Code,
    wait: bool = typer.Option(True, help="Show progress until every cell has ended."),
    as_json: bool = AsJson,
) -> int:
    """Run the missing cells of a study; the same file is the same study.

    Cells that one of your jobs has already computed, in any study, are reused; with
    --set reuse=false they are computed again. Ctrl-C stops watching, not the study. Exits 1
    if a cell did not succeed.
    """
    from normlab.cli.specfile import read_spec, with_whole_ids

    spec = read_spec(file, overrides)
    with connect(ctx) as client:
        spec = with_code(client, with_whole_ids(client, spec), code, file, project)
        if extend:
            study = client.studies.extend(extend, spec)
        else:
            study = client.studies.create(spec, project)
        if any(study.counts.get(state) for state in ("failed", "cancelled")):
            study = client.studies.complete(study.id)
        if wait:
            print(f"study {study.id}: {_counts(study)}", file=sys.stderr)
            study = client.studies.wait(study.id, None if as_json else StudyProgress())
            if not as_json and study.cells:
                _print_results(client, study.id)
    if as_json or not wait:
        _say(study, as_json)
    elif study.reason:
        print(f"{study.state}: {study.reason}", file=sys.stderr)
    well = study.counts.get("succeeded", 0) + study.counts.get("pruned", 0)
    return 1 if wait and (study.state == "failed" or well < study.cells) else 0


@commands.command(epilog=examples("normlab study preview grid.yaml"))
def preview(
    ctx: typer.Context,
    file: str = File,
    overrides: List[str] = Set,
    project: Optional[str] = Project,
    code: List[str] = Code,
    as_json: bool = AsJson,
) -> int:
    """Show what a study would run, how long it may take and what is refused; run nothing."""
    from normlab.cli.specfile import read_spec, with_whole_ids

    spec = read_spec(file, overrides)
    with connect(ctx) as client:
        spec = with_code(client, with_whole_ids(client, spec), code, file, project)
        found = client.studies.preview(spec, project)
    if as_json:
        print_json(found)
    else:
        print_preview(found)
    return 2 if found.refused else 0


@commands.command(epilog=examples("normlab study ls", "normlab study ls --trash"))
def ls(
    ctx: typer.Context,
    project: Optional[str] = OfProject,
    archived: bool = typer.Option(False, "--archived", help="Show archived studies instead."),
    trash: bool = typer.Option(False, "--trash", help="Show studies in the trash instead."),
    as_json: bool = AsJson,
) -> None:
    """List studies, newest first."""
    from normlab.records import StudyRecord

    with connect(ctx) as client:
        found = list(client.studies.list(project, "only" if archived else None, trash=trash))
        if not found:
            refuse_unknown(client, project=project)
        none = "" if found else why_no_study(client, project, archived, trash)
        deleted = client.trash.summary() if trash else None
    shorts = short_ids([study.id for study in found])
    rows = [[short, s.name, s.state, _counts(s), ", ".join(s.paths),
             moment(deleted, s.created_at, s.trashed_at)]
            for short, s in zip(shorts, found)]  # fmt: skip
    columns = ["study", "name", "state", "cells", "varies", KEPT_UNTIL if deleted else "age"]
    print_rows(found, as_json, columns, rows, SPARE, StudyRecord, none)


@commands.command(
    epilog=examples("normlab study show 5f0c9a41", "normlab study show 5f0c9a41 --json")
)
def show(ctx: typer.Context, study: str = Study, as_json: bool = AsJson) -> None:
    """Show a study's cells and the jobs that fill them."""
    from normlab.cli.comparisons import print_verdicts
    from normlab.specs.cells import label

    with connect(ctx) as client:
        found = client.studies.get(study)
        decision = client.studies.decision(study) if found.spec.decide and not as_json else None
    if as_json:
        print_json(found)
        return
    print(f"{found.name}: {found.state}, {_counts(found)}")
    print(f"reason: {found.reason}\n" if found.reason else "")
    ids = sorted({c.job for c in found.grid if c.job})
    short = dict(zip(ids, short_ids(ids)))
    rows = [
        [*(label(c.coordinates.get(path)) for path in found.paths), c.seed,
         c.state + (" (reused)" if c.reused else ""), short.get(c.job or "")]
        for c in found.grid
    ]  # fmt: skip
    print_table([*found.paths, "seed", "state", "job"], rows)
    if decision:
        print()
        print_verdicts(decision)


@commands.command(
    epilog=examples("normlab study complete 5f0c9a41", 'normlab study complete "small batches"')
)
def complete(ctx: typer.Context, study: str = Study, as_json: bool = AsJson) -> None:
    """Run only the missing, failed or cancelled cells."""
    _verb(ctx, "complete", study, as_json)


@commands.command(epilog=examples("normlab study pause 5f0c9a41"))
def pause(ctx: typer.Context, study: str = Study, as_json: bool = AsJson) -> None:
    """Hold back the queued cells; running cells continue."""
    _verb(ctx, "pause", study, as_json)


@commands.command(epilog=examples("normlab study resume 5f0c9a41"))
def resume(ctx: typer.Context, study: str = Study, as_json: bool = AsJson) -> None:
    """Let the cells of a paused study run."""
    _verb(ctx, "resume", study, as_json)


@commands.command(epilog=examples("normlab study cancel 5f0c9a41"))
def cancel(ctx: typer.Context, study: str = Study, as_json: bool = AsJson) -> None:
    """Cancel every cell that has not ended; no cell starts later. `complete` resumes the study."""
    _verb(ctx, "cancel", study, as_json)


@commands.command(epilog=examples("normlab study priority 5f0c9a41 10"))
def priority(
    ctx: typer.Context,
    study: str = Study,
    value: int = typer.Argument(..., min=-100, max=100, help="Higher values run earlier."),
    as_json: bool = AsJson,
) -> None:
    """Move the queued cells up or down in the queue."""
    with connect(ctx) as client:
        _say(client.studies.set_priority(study, value), as_json)


def _verb(ctx: typer.Context, name: str, study: str, as_json: bool) -> None:
    with connect(ctx) as client:
        _say(getattr(client.studies, name)(study), as_json)


def _say(study: StudyRecord, as_json: bool) -> None:
    reason = f"; {study.reason}" if study.reason else ""
    print_told(study, as_json, f"{study.id}  {study.state}: {_counts(study)}{reason}")


def _counts(study: StudyRecord) -> str:
    parts = [f"{study.counts[s]} {s}" for s in STATES if study.counts.get(s)]
    parts += [f"{study.reused} from other jobs"] if study.reused else []
    return counted(study.cells, "cell") + (f" ({', '.join(parts)})" if parts else "")


def _print_results(client: Any, study: str) -> None:
    from normlab.cli.comparisons import print_verdicts
    from normlab.cli.results import print_results

    print_results(client, client.studies.results(study))
    if client.studies.summary(study).spec.decide:
        print_verdicts(client.studies.decision(study))


class StudyProgress:
    """One line that is overwritten in a terminal; elsewhere one line per change."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, study: StudyRecord) -> None:
        """Show the progress of *study*, if it has changed."""
        text = _counts(study)
        if text == self.last:
            return
        self.last = text
        if sys.stderr.isatty():
            done = not any(study.counts.get(s) for s in ("planned", "queued", "running"))
            print(f"\r\033[K{text}", end="\n" if done else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
