"""The runs of one claim: its tuning seeds, then round after round of those that are judged."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

if TYPE_CHECKING:
    from normlab.claims.claim import Claim
    from normlab.claims.verdicts import Verdict
    from normlab.records import ResultTable
    from normlab.specs.studies import StudySpec


def run_claim(client: Any, claim: Claim, spec: StudySpec, quiet: bool) -> Tuple[Verdict, bool]:
    """
    Run *claim* as *spec* has it, on its tuning seeds and then on those that are judged.

    Returns its verdict, and whether every job succeeded.
    """
    from normlab.claims.report import effect_lines
    from normlab.cli.results import print_results

    if not quiet:
        print(f"\n{claim.title}\n{claim.says}\n", flush=True)
    spec, tuned = _tune(client, claim, spec, quiet)
    verdict, whole = _judge(client, claim, spec, quiet)
    verdict = replace(verdict, tuned=tuned)
    if not quiet:
        print_results(client, verdict.table)
        print()
        print("\n".join(effect_lines(verdict)))
        print(f"\nverdict: {claim.key} {verdict.words} ({verdict.counts})", flush=True)
    return verdict, whole


def _tune(
    client: Any, claim: Claim, spec: StudySpec, quiet: bool
) -> Tuple[StudySpec, Optional[ResultTable]]:
    """
    Run the tuning seeds, if there are some, and return the study of what they chose.

    A training that diverges says that its rate is none to choose; it does not end the claim.
    """
    from normlab.claims.tuning import chosen, judging_study, tuning_study

    part = tuning_study(claim, spec)
    if part is None:
        return spec, None
    study, _ = run_round(client, part, quiet)
    table = client.studies.results(study, metric=claim.metric, reduction=claim.reduction)
    return judging_study(spec, chosen(claim, table.rows)), table


def _judge(client: Any, claim: Claim, spec: StudySpec, quiet: bool) -> Tuple[Verdict, bool]:
    """Run one round of seeds after another until each effect is decided."""
    from normlab.claims.verdicts import judge
    from normlab.presentation.deciding import UNDECIDED

    looks: List[int] = []
    for part in claim.rounds(spec):
        study, whole = run_round(client, part, quiet)
        looks.append(len(part.seeds))
        verdict = judge(claim, client.studies, study, part.seeds, looks)
        if not whole or all(f.verdict != UNDECIDED for f in verdict.found):
            break
        if not quiet:
            said = f"{claim.key} after {looks[-1]} seeds: {verdict.counts}"
            print(said, file=sys.stderr, flush=True)
    return verdict, whole


def run_round(client: Any, spec: StudySpec, quiet: bool) -> Tuple[str, bool]:
    """Run *spec*, and first the part that must be complete before the rest."""
    from normlab.claims.claim import first_part
    from normlab.cli.studies import StudyProgress

    for part in [part for part in (first_part(spec), spec) if part is not None]:
        study = client.studies.create(part).id
        done = client.studies.wait(
            client.studies.complete(study).id, None if quiet else StudyProgress()
        )
        if done.counts.get("succeeded", 0) < done.cells:
            return study, False  # the following steps need all of it
    return study, True
