"""`normlab reproduce`: the papers' claims as studies with verdicts."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json
from normlab.host_limits import usable_cores

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
        )
    )(reproduce)


def reproduce(
    ctx: typer.Context,
    claims: Optional[List[str]] = typer.Argument(None, help="Claims, by key or first letter."),
    list_them: bool = typer.Option(False, "--list", help="Say which claims there are."),
    everything: bool = typer.Option(False, "--all", help="Run every claim."),
    quick: bool = typer.Option(False, help="Too small for a verdict: tries the machinery."),
    seeds: Optional[int] = typer.Option(None, min=2, help="Seeds; default: the claim's own."),
    first_seed: int = typer.Option(0, min=0, help="Where the seeds begin."),
    page: Optional[Path] = typer.Option(None, help="Write the page of verdicts, with its plots."),
    as_json: bool = AsJson,
) -> int:
    """Run claims of the papers as studies and say which show here.

    Studies are completed, never run twice: call it again after an interruption. The stack must
    run (`normlab up`). Exits 0 whatever the verdicts; 1 if a job did not succeed.
    """
    from normlab.claims import report
    from normlab.claims.claim import find_claim, first_part, load_claims
    from normlab.errors import InvalidSpec

    known = load_claims()
    if list_them:
        print("\n".join(report.list_lines(list(known.values()))))
        return 0
    chosen = list(known.values()) if everything else [find_claim(c) for c in claims or []]
    if not chosen:
        raise InvalidSpec("no claim: name some, or --all; `normlab reproduce --list` has them")
    verdicts, whole = [], True
    with connect(ctx) as client:
        studies = [c.at(quick=quick, seeds=seeds, first_seed=first_seed) for c in chosen]
        for study in studies:  # all, before any waiting
            client.studies.create(first_part(study) or study)
        for claim, study in zip(chosen, studies):
            verdict, complete = _run(client, claim, study, as_json)
            verdicts.append(verdict)
            whole = whole and complete
    if page:
        _write_page(verdicts, page)
    if as_json:
        print_json([_summary(v) for v in verdicts])
    return 0 if whole else 1


def _run(client: Any, claim: Claim, spec: StudySpec, quiet: bool) -> Any:
    from normlab.claims.claim import first_part
    from normlab.claims.report import effect_lines
    from normlab.claims.verdicts import judge
    from normlab.cli.results import print_results
    from normlab.cli.studies import Progress

    if not quiet:
        print(f"\n{claim.title}\n{claim.says}\n", flush=True)
    parts = [part for part in (first_part(spec), spec) if part is not None]
    for part in parts:
        study = client.studies.create(part).id
        done = client.studies.wait(client.studies.complete(study).id, None if quiet else Progress())
        if done.counts.get("succeeded", 0) < done.cells:
            break  # what follows needs all of it
    verdict = judge(claim, client.studies, study)
    if not quiet:
        print_results(client, verdict.table)
        print()
        print("\n".join(effect_lines(verdict)))
        print(f"\nverdict: {claim.key} {verdict.words}", flush=True)
    return verdict, done.counts.get("succeeded", 0) == done.cells


def _write_page(verdicts: List[Verdict], page: Path) -> None:
    from normlab.claims.report import page as page_of
    from normlab.claims.report import save_plot
    from normlab.errors import InvalidSpec

    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in verdicts:
        try:
            save_plot(verdict, folder / f"{verdict.claim.key}.png")
        except InvalidSpec as e:
            print(f"no plot of {verdict.claim.key}: {e}", file=sys.stderr)
    command = "normlab " + " ".join(sys.argv[1:])
    page.write_text(page_of(verdicts, _machine(), command, folder.name), encoding="utf-8")
    print(f"wrote {page}")


def _machine() -> str:
    return f"{platform.machine()} with {usable_cores()} cores, {platform.system()}"


def _summary(verdict: Verdict) -> Dict[str, Any]:
    return {
        "claim": verdict.claim.key,
        "shows": verdict.shows,
        "effects": [
            {
                "name": f.effect.name,
                "shows": f.shows,
                "why": f.why,
                **(vars(f.estimate) if f.estimate else {}),
            }
            for f in verdict.found
        ],
        "table": verdict.table.model_dump(mode="json"),
    }
