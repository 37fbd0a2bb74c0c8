"""
Supervise a pack: each job is supervised like a job that runs alone.

A failure that the pack may have caused does not count as an attempt of its members. A pack whose
process was lost returns once with the same members. A pack that does not fit into memory is split
into halves. After any other failure each member continues alone, and fails alone if it is the
cause. So limits only fall, and no member can make the others fail twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

from normlab.errors import JobCancelled, JobTimedOut, LossNotFinite
from normlab.events import Failed
from service.jobs.leases import Lease
from workers.endings import PROCESS_LOST, Ending, FellApart
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
        members: the members of the pack.
    """

    members: int = 2

    def _run(self, lease: Lease, ledger: Ledger, uploads: Uploads) -> Ending:
        ending = super()._run(lease, ledger, uploads)
        if not isinstance(ending, Failed) or ending.code in _OF_ITS_OWN:
            return ending
        if ending.failure_kind == "oom":
            most = self.members // 2
            then = f"in packs of at most {most}" if most > 1 else "alone"
            return _failed(f"did not fit into memory; its members continue {then}", most, ending)
        if ending.code == PROCESS_LOST:
            how = "was lost; it comes back as it was, or alone if that happened before"
            return _failed(how, self.members, ending)
        return _failed("failed; its members continue alone", 1, ending)


def _failed(how: str, most: int, why: Failed) -> FellApart:
    return FellApart(f"its pack {how} ({why.message})"[:1000], most)


def work_on(supervisor: Supervisor, lease: Lease) -> None:
    """Run *lease* to its end, as one pack with its mates if it has any."""
    if not lease.mates:
        supervisor.work_on(lease)
        return
    members = [replace(lease, mates=()), *lease.mates]
    pack = PackProcess(supervisor.launcher, len(members))
    in_threads([partial(_member, supervisor, pack, i, own) for i, own in enumerate(members)])


def _member(supervisor: Supervisor, pack: PackProcess, member: int, lease: Lease) -> None:
    own = {field.name: getattr(supervisor, field.name) for field in fields(supervisor)}
    own["launcher"] = MemberLauncher(pack, member)
    try:
        MemberSupervisor(**own, members=pack.members).work_on(lease)
    finally:
        pack.forgo(member)
