"""`normlab reproduce`: the papers' claims as studies with verdicts."""

from __future__ import annotations

import datetime
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Set, Tuple

import typer

from normlab.cli.claim_rounds import run_claim
from normlab.cli.claims_progress import ClaimsProgress
from normlab.cli.output import AsJson, examples, print_json
from normlab.cli.own_stack import running_or_own_stack
from normlab.host.limits import usable_cores

if TYPE_CHECKING:
    from normlab.claims.claim import Claim
    from normlab.claims.verdicts import Verdict
    from normlab.specs.studies import StudySpec


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command(
        epilog=examples(
            "normlab reproduce --list",
            "normlab reproduce a                          one claim, with its verdict",
            "normlab reproduce a --first-seed 100         the same with other seeds",
            "normlab reproduce --all --page docs/claims.md",
            "normlab reproduce a --on cifar10 -s base.device=cuda",
        )
    )(reproduce)


def reproduce(
    ctx: typer.Context,
    claims: Optional[List[str]] = typer.Argument(None, help="Claims, by key or first letter."),
    list_them: bool = typer.Option(False, "--list", help="List the claims."),
    everything: bool = typer.Option(False, "--all", help="Run every claim."),
    quick: bool = typer.Option(False, help="A quick dry run, too small for a verdict."),
    seeds: Optional[int] = typer.Option(
        None, min=2, help="Number of seeds; default: the claim's own."
    ),
    first_seed: int = typer.Option(0, min=0, help="The first seed."),
    sets: List[str] = typer.Option(
        [],
        "--set",
        "-s",
        metavar="FIELD=VALUE",
        help="Change the study, for example base.device=cuda.",
    ),
    on: Optional[str] = typer.Option(
        None,
        "--on",
        metavar="DATASET",
        help="Train on all of this dataset, such as cifar10; with --all, claims about another "
        "task are left out.",
        show_default=False,
    ),
    page: Optional[Path] = typer.Option(
        None, help="Write a page of verdicts and plots; what it has of other claims stays."
    ),
    as_json: bool = AsJson,
) -> int:
    """Run claims of the papers as studies, and report which of them hold here.

    Studies are completed, never run twice: run it again after an interruption. If no stack is
    running, the command starts one and stops it at the end. Exits 0 for any verdict, and 1 if a
    job did not succeed.
    """
    from normlab.claims import report
    from normlab.claims.claim import find_claim, load_claims
    from normlab.errors import InvalidSpec

    known = load_claims()
    if list_them:
        print("\n".join(report.list_lines(list(known.values()))))
        return 0
    chosen = list(known.values()) if everything else [find_claim(c) for c in claims or []]
    if not chosen:
        raise InvalidSpec("no claim: name some, or --all; `normlab reproduce --list` has them")
    if quick or seeds:  # so many, and no more
        chosen = [c.model_copy(update={"decide": None}) for c in chosen]
    if on and everything:
        chosen = _for_task_of(on, chosen)
    studies = [
        _changed(_elsewhere(c.at(quick=quick, seeds=seeds, first_seed=first_seed), on), sets)
        for c in chosen
    ]
    with running_or_own_stack(ctx) as client:
        try:
            verdicts, whole = _run_all(client, chosen, studies, as_json)
        except KeyboardInterrupt:
            print("\ninterrupted: the same command goes on from here", file=sys.stderr, flush=True)
            raise
        if page:
            _write_page(client, verdicts, page)
    if as_json:
        print_json([_summary(v) for v in verdicts])
    return 0 if whole else 1


def _elsewhere(study: StudySpec, dataset: Optional[str]) -> StudySpec:
    from normlab.claims.elsewhere import on_dataset

    return study if dataset is None else on_dataset(study, dataset)


def _for_task_of(dataset: str, claims: List[Claim]) -> List[Claim]:
    """Leave out, and name, the claims whose task *dataset* is not for."""
    from normlab.specs.datasets import DATASETS

    task = DATASETS[dataset].task if dataset in DATASETS else None
    fitting = [c for c in claims if DATASETS[c.study.base["dataset"]["name"]].task == task]
    left = [c.key for c in claims if c not in fitting]
    if fitting and left:
        print(f"left out, about another task: {', '.join(left)}", file=sys.stderr, flush=True)
    return fitting or claims


def _changed(study: StudySpec, overrides: List[str]) -> StudySpec:
    """Return *study* with fields set in the same way as by `normlab study run --set`."""
    from pydantic import ValidationError

    from normlab.cli.specfile import apply_override
    from normlab.errors import InvalidSpec
    from normlab.specs.problems import explain
    from normlab.specs.studies import StudySpec as Spec

    if not overrides:
        return study
    raw = study.model_dump(mode="json", exclude_defaults=True)
    for override in overrides:
        apply_override(raw, override)
    raw["name"] = f"{study.name}, {', '.join(overrides)}"[:200]
    try:
        return Spec.model_validate(raw)
    except ValidationError as e:
        first, *_ = explain(e.errors(), raw, Spec)
        raise InvalidSpec(f"--set {' --set '.join(overrides)}: {first}") from e


def _run_all(
    client: Any, claims: List[Claim], studies: List[StudySpec], quiet: bool
) -> Tuple[List[Verdict], bool]:
    from normlab.claims.tuning import tuning_study

    verdicts: List[Verdict] = []
    whole = True
    # the round that each begins with: queued with other cells, it would train them once more
    firsts = [
        tuning_study(claim, study) or claim.rounds(study)[0]
        for claim, study in zip(claims, studies)
    ]
    cells = {key for first in firsts for key in _keys(first)}
    progress = ClaimsProgress(len(claims), len(cells))
    waiting = list(firsts)
    queued: Set[str] = set()
    done: Set[str] = set()
    for claim, study, first in zip(claims, studies, firsts):
        waiting = _queue(client, waiting, queued, done)
        verdict, complete = run_claim(client, claim, study, quiet)
        done |= _keys(first)
        verdicts.append(verdict)
        whole = whole and complete
        if not quiet:
            progress.claim_ended(len(verdicts), [v.words for v in verdicts], len(done))
    return verdicts, whole


def _queue(
    client: Any, waiting: List[StudySpec], queued: Set[str], done: Set[str]
) -> List[StudySpec]:
    """
    Queue every study that shares no cell with a running one, so that no slot is idle.

    Returns the other studies: once those cells are done, a study with `reuse` takes them over.
    """
    from normlab.claims.claim import first_part

    left: List[StudySpec] = []
    for study in waiting:
        keys = _keys(study)
        if study.reuse and keys & queued - done:
            left.append(study)
        else:
            client.studies.create(first_part(study) or study)
            queued |= keys
    return left


def _keys(study: StudySpec) -> Set[str]:
    from normlab.specs.cells import expand

    return {cell.key for cell in expand(study)}


def _write_page(client: Any, verdicts: List[Verdict], page: Path) -> None:
    from normlab.claims import page as pages
    from normlab.claims.claim import load_claims
    from normlab.claims.gathering import running_s
    from normlab.claims.pictures import draw_claim
    from normlab.errors import InvalidSpec

    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in verdicts:
        try:
            draw_claim(verdict, client, folder / f"{verdict.claim.key}.png")
        except InvalidSpec as e:
            print(f"no plot of {verdict.claim.key}: {e}", file=sys.stderr)
    machine = _machine(client)
    timed = (replace(v, seconds=running_s(v, client)) for v in verdicts)
    new = {v.claim.key: pages.entry(v, folder.name, machine) for v in timed}
    known = load_claims()
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = {**pages.kept(before, known), **new}
    entries = [found[key] for key in known if key in found]
    lacking = [claim for key, claim in known.items() if key not in found]
    text = pages.page(entries, lacking, folder.name)
    page.write_text(text, encoding="utf-8")
    print(f"wrote {page}", file=sys.stderr)


def _machine(client: Any) -> str:
    """Name the hardware and versions that the jobs ran on, and the date."""
    workers = [w.description for d in client.devices() for w in d.workers]
    here = f"{platform.machine()} with {usable_cores()} cores, {platform.system()}"
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return f"{'; '.join([*dict.fromkeys(workers), here])}, on {day}"


def _summary(verdict: Verdict) -> Dict[str, Any]:
    return {
        "claim": verdict.claim.key,
        "verdict": verdict.words,
        "protocol": verdict.claim.protocol(),
        "effects": [
            {
                "name": f.effect.name,
                "verdict": f.verdict,
                "why": f.why,
                **(vars(f.finding) if f.finding else {}),
            }
            for f in verdict.found
        ],
        "table": verdict.table.model_dump(mode="json"),
    }
