"""Supervise a pack: the supervision of each job is that of a job alone."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial

from normlab.events import Failed
from service.jobs.leases import Lease
from workers.endings import Ending
from workers.ledger import Ledger
from workers.pack_process import MemberLauncher, PackProcess, in_threads
from workers.supervisor import Supervisor


class MemberSupervisor(Supervisor):
    """The supervision of one member, which is tried again alone if only the pack failed."""

    def _run(self, claim: Lease, ledger: Ledger) -> Ending:
        ending = super()._run(claim, ledger)
        if isinstance(ending, Failed) and ending.failure_kind == "oom":
            return Failed(
                code="pack_too_large",
                failure_kind="lost",
                retryable=True,
                message=f"its pack of jobs did not fit into memory, so it goes on alone "
                f"({ending.message})"[:1000],
            )
        return ending


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
        MemberSupervisor(**own).work_on(claim)
    finally:
        pack.forgo(member)
