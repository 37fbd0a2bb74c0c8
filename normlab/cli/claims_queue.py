"""Run several claims one after the other, with the first jobs of all of them queued at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Set, Tuple

from normlab.cli.claim_rounds import run_claim
from normlab.cli.claims_progress import ClaimsProgress

if TYPE_CHECKING:
    from normlab.claims.claim import Claim
    from normlab.claims.verdicts import ClaimVerdict
    from normlab.specs.studies import StudySpec


def run_all(
    client: Any, claims: Sequence[Tuple[Claim, StudySpec]], quiet: bool
) -> Tuple[List[ClaimVerdict], bool]:
    """Return the verdict on each of *claims*, and whether every job succeeded."""
    from normlab.claims.tuning import tuning_study
    from normlab.claims.workload import stages

    progress = ClaimsProgress({claim.key: stages(claim, study) for claim, study in claims})
    # the first round of each; if it were queued with other cells, it would train them again
    firsts = {
        claim.key: tuning_study(claim, study) or claim.rounds(study)[0] for claim, study in claims
    }
    ahead = Ahead(client, firsts, progress)
    verdicts: List[ClaimVerdict] = []
    whole = True
    for claim, study in claims:
        ahead.queue()
        verdict, complete = run_claim(client, claim, study, quiet, progress)
        ahead.ended(claim.key)
        verdicts.append(verdict)
        whole = whole and complete
        if not quiet:
            progress.claim_ended(claim.key, verdict.words)
    return verdicts, whole


class Ahead:
    """
    The first studies of the claims: each is queued as soon as possible, so no slot is idle.

    Args:
        firsts: by the claims' keys, in the order in which they run.
        progress: gets the share of each that was done before.
    """

    def __init__(self, client: Any, firsts: Dict[str, StudySpec], progress: ClaimsProgress) -> None:
        self._client = client
        self._progress = progress
        self._waiting = dict(firsts)
        self._keys = {claim: keys(study) for claim, study in firsts.items()}
        self._queued: Set[str] = set()
        self._done: Set[str] = set()

    def queue(self) -> None:
        """
        Queue every study that shares no cell with one that still runs.

        The others wait: once those cells are done, a study with `reuse` takes them over.
        """
        for claim, study in list(self._waiting.items()):
            if study.reuse and self._keys[claim] & self._queued - self._done:
                continue
            self._create(claim, study)
            del self._waiting[claim]

    def ended(self, claim: str) -> None:
        """Note that the first study of *claim* is done."""
        self._done |= self._keys[claim]

    @property
    def waiting(self) -> List[str]:
        """The claims whose first study is not queued yet."""
        return list(self._waiting)

    def _create(self, claim: str, study: StudySpec) -> None:
        from normlab.claims.claim import first_part

        made = self._client.studies.create(first_part(study) or study)
        there = made.counts.get("succeeded", 0) / len(self._keys[claim])
        self._progress.found(claim, there)
        self._queued |= self._keys[claim]


def keys(study: StudySpec) -> Set[str]:
    """Return the keys that distinguish the cells of *study* from those of other studies."""
    from normlab.specs.cells import expand

    return {cell.key for cell in expand(study)}
