"""The runs of one claim: its tuning seeds, then the judging seeds, round after round."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Tuple

if TYPE_CHECKING:
    from normlab.claims.claim import Claim
    from normlab.claims.verdicts import ClaimVerdict
    from normlab.cli.claims_progress import ClaimsProgress
    from normlab.records import ResultTable
    from normlab.specs.studies import StudySpec


class Round(NamedTuple):
    """The outcome of a study."""

    study: str
    whole: bool
    """Whether every job succeeded."""
    cells: int
    there: int
    """Cells that were done before."""


def run_claim(
    client: Any,
    claim: Claim,
    spec: StudySpec,
    quiet: bool,
    progress: Optional[ClaimsProgress] = None,
) -> Tuple[ClaimVerdict, bool]:
    """
    Run *claim* as *spec* describes it, on its tuning seeds and then on its judging seeds.

    Returns its verdict, and whether every job succeeded.

    Args:
        progress: of all claims; None if this is the only one.
    """
    from normlab.claims.report import effect_lines
    from normlab.claims.workload import stages
    from normlab.cli.claims_progress import ClaimsProgress
    from normlab.cli.results import print_results

    progress = progress or ClaimsProgress({claim.key: stages(claim, spec)})
    if not quiet:
        print(f"\n{claim.title}\n{claim.says}\n", flush=True)
    spec, tuned = _tune(client, claim, spec, quiet)
    if tuned is not None:
        progress.stage_ended(claim.key)
    verdict, whole = _judge(client, claim, spec, quiet, progress)
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
    Run the tuning seeds, if there are any, and return the study with the values that they chose.

    A training that diverges only rules its rate out; it does not end the claim.
    """
    from normlab.claims.tuning import chosen, judging_study, tuning_study

    part = tuning_study(claim, spec)
    if part is None:
        return spec, None
    study = run_round(client, part, quiet).study
    table = client.studies.results(study, metric=claim.metric, reduction=claim.reduction)
    return judging_study(spec, chosen(claim, table.rows)), table


def _judge(
    client: Any, claim: Claim, spec: StudySpec, quiet: bool, progress: ClaimsProgress
) -> Tuple[ClaimVerdict, bool]:
    """Run one round of seeds after another until each effect is decided."""
    from normlab.claims.verdicts import judge
    from normlab.presentation.judging import UNDECIDED

    looks: List[int] = []
    before = 0  # cells of the earlier rounds
    for part in claim.rounds(spec):
        done = run_round(client, part, quiet)
        if looks or claim.tuning_seeds:  # otherwise it was queued and counted in advance
            progress.found(claim.key, max(0, done.there - before) / max(1, done.cells - before))
        progress.stage_ended(claim.key)
        before = done.cells
        looks.append(len(part.seeds))
        verdict = judge(claim, client.studies, done.study, part.seeds, looks)
        if not done.whole or all(f.verdict != UNDECIDED for f in verdict.found):
            break
        if not quiet:
            said = f"{claim.key} after {looks[-1]} seeds: {verdict.counts}{progress.left()}"
            print(said, file=sys.stderr, flush=True)
    return verdict, done.whole


def run_round(client: Any, spec: StudySpec, quiet: bool) -> Round:
    """Run *spec*; the part that must be complete before the rest is run first."""
    from normlab.claims.claim import first_part
    from normlab.cli.studies import StudyProgress

    for part in [part for part in (first_part(spec), spec) if part is not None]:
        made = client.studies.create(part)
        done = client.studies.wait(
            client.studies.complete(made.id).id, None if quiet else StudyProgress()
        )
        whole = done.counts.get("succeeded", 0) == done.cells
        found = Round(made.id, whole, done.cells, made.counts.get("succeeded", 0))
        if not whole:
            break  # the following steps need all of it
    return found
