"""`normlab reproduce`: the papers' claims as studies with verdicts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import typer

from normlab.cli.claims_asked import Changes, asked
from normlab.cli.claims_queue import run_all
from normlab.cli.output import AsJson, examples, print_json
from normlab.cli.own_stack import running_or_own_stack

if TYPE_CHECKING:
    from normlab.claims.claim import Claim
    from normlab.claims.verdicts import ClaimVerdict
    from normlab.specs.studies import StudySpec

if TYPE_CHECKING:
    from normlab.claims.verdicts import ClaimVerdict

Claims = typer.Argument(None, help="Claims, by key or first letter.")
ListThem = typer.Option(False, "--list", help="List the claims.")
Everything = typer.Option(False, "--all", help="Run every claim.")
Quick = typer.Option(False, help="A quick dry run, too small for a verdict.")
Seeds = typer.Option(None, min=2, help="Number of seeds; default: the claim's own.")
FirstSeed = typer.Option(0, min=0, help="The first seed.")
Sets = typer.Option(
    [],
    "--set",
    "-s",
    metavar="FIELD=VALUE",
    help="Change the study, for example base.device=cuda.",
)
On = typer.Option(
    None,
    "--on",
    metavar="DATASET",
    help="Train on all of this dataset, such as cifar10; with --all, claims about another "
    "task are left out.",
    show_default=False,
)
Page = typer.Option(
    None, help="Write a page of verdicts and plots; its sections on other claims stay."
)


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab reproduce --list",
        "normlab reproduce a                          one claim, with its verdict",
        "normlab reproduce a --first-seed 100         the same with other seeds",
        "normlab reproduce --all --page docs/claims.md",
        "normlab reproduce a --on cifar10 -s base.device=cuda",
    )
)
def reproduce(
    ctx: typer.Context,
    claims: Optional[List[str]] = Claims,
    list_them: bool = ListThem,
    everything: bool = Everything,
    quick: bool = Quick,
    seeds: Optional[int] = Seeds,
    first_seed: int = FirstSeed,
    sets: List[str] = Sets,
    on: Optional[str] = On,
    page: Optional[Path] = Page,
    as_json: bool = AsJson,
) -> int:
    """Run claims of the papers as studies, and report which of them hold here.

    Studies are completed, never run twice: run it again after an interruption. If no stack is
    running, the command starts one and stops it at the end. Exits 0 for any verdict, and 1 if a
    job did not succeed.
    """
    if list_them:
        _list(as_json)
        return 0
    changes = Changes(quick, seeds, first_seed, on, sets)
    chosen = asked(claims or [], everything, changes)
    verdicts, whole = _run(ctx, chosen, page, as_json)
    if as_json:
        print_json([_summary(v) for v in verdicts])
    return 0 if whole else 1


def _list(as_json: bool) -> None:
    from normlab.claims import report
    from normlab.claims.loading import load_claims

    found = list(load_claims().values())
    if as_json:
        print_json([{"claim": c.key, "jobs": report.jobs_of(c), "title": c.title} for c in found])
    else:
        print("\n".join(report.list_lines(found)))


def _run(
    ctx: typer.Context,
    claims: Sequence[Tuple[Claim, StudySpec]],
    page: Optional[Path],
    quiet: bool,
) -> Tuple[List[ClaimVerdict], bool]:
    with running_or_own_stack(ctx) as client:
        try:
            verdicts, whole = run_all(client, claims, quiet)
        except KeyboardInterrupt:
            print("\ninterrupted: the same command resumes from here", file=sys.stderr, flush=True)
            raise
        if page:
            write_page(client, verdicts, page)
    return verdicts, whole


def _summary(verdict: ClaimVerdict) -> Dict[str, Any]:
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


def write_page(client: Any, verdicts: Sequence[ClaimVerdict], page: Path) -> None:
    """Write *verdicts* to *page*; sections on other claims stay if those have not changed."""
    from normlab.claims import page as pages
    from normlab.claims.loading import load_claims
    from normlab.claims.runs import how_it_ran

    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    _draw(client, verdicts, folder)
    told = (replace(v, ran=how_it_ran(v, client)) for v in verdicts)
    new = {v.claim.key: pages.entry(v, folder.name) for v in told}
    known = load_claims()
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = {**pages.kept(before, known), **new}
    entries = [found[key] for key in known if key in found]
    lacking = [claim for key, claim in known.items() if key not in found]
    page.write_text(pages.page(entries, lacking, folder.name), encoding="utf-8")
    print(f"wrote {page}", file=sys.stderr)


def _draw(client: Any, verdicts: Sequence[ClaimVerdict], folder: Path) -> None:
    from normlab.claims.pictures import draw_claim
    from normlab.errors import InvalidSpec

    for verdict in verdicts:
        try:
            draw_claim(verdict, client, folder / f"{verdict.claim.key}.png")
        except InvalidSpec as e:
            print(f"no plot of {verdict.claim.key}: {e}", file=sys.stderr)
