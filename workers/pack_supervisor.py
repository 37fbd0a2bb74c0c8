"""
Supervise a pack: the supervision of each job is that of a job alone.

What may be the pack's failure is no attempt of its members: one that does not fit into memory is
split into halves, and after anything else each member goes on alone, and fails alone if the fault
is its own. So limits only fall, and no member can take the others along twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

from normlab.errors import JobCancelled, JobTimedOut, LossNotFinite
from normlab.events import Failed
from service.jobs.leases import Lease
from workers.endings import Ending, FellApart
from workers.ledger import Ledger
from workers.pack_process import MemberLauncher, PackProcess, in_threads
from workers.supervisor import Supervisor
from workers.uploads import Uploads

_OF_ITS_OWN = (LossNotFinite.code, JobCancelled.code, JobTimedOut.code)


@dataclass(frozen=True)
class MemberSupervisor(Supervisor):
    """
    The supervision of one member, which is tried again if only the pack failed.

    Args:
        members: of the pack.
    """

    members: int = 2

    def _run(self, claim: Lease, ledger: Ledger, uploads: Uploads) -> Ending:
        ending = super()._run(claim, ledger, uploads)
        if not isinstance(ending, Failed) or ending.code in _OF_ITS_OWN:
            return ending
        if ending.failure_kind == "oom":
            return _apart("did not fit into memory", self.members // 2, ending)
        return _apart("fell apart", 1, ending)


def _apart(how: str, most: int, why: Failed) -> FellApart:
    then = f"in packs of at most {most}" if most > 1 else "alone"
    return FellApart(f"its pack {how}; it goes on {then} ({why.message})"[:1000], most)


def work_on(supervisor: Supervisor, claim: Lease) -> None:
    """Run *claim* to its end, with its mates as one pack if it has any."""
    if not claim.mates:
        supervisor.work_on(claim)
        return
    claims = [replace(claim, mates=()), *claim.mates]
    pack = PackProcess(supervisor.launcher, len(claims))
    in_threads([partial(_member, supervisor, pack, i, own) for i, own in enumerate(claims)])


def _member(supervisor: Supervisor, pack: PackProcess, member: int, claim: Lease) -> None:
    own = {field.name: getattr(supervisor, field.name) for field in fields(supervisor)}
    own["launcher"] = MemberLauncher(pack, member)
    try:
        MemberSupervisor(**own, members=pack.members).work_on(claim)
    finally:
        pack.forgo(member)
