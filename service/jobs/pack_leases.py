"""
Claims of packs: with a job of a study, a worker takes others that can be trained with it.

Each member has a lease of its own, so that it is renewed, cancelled and ended as a job alone.
Jobs are packed in their first attempt, and again after their worker was drained; after any
failure a job runs alone, so that one that ends its process cannot take others along twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import PackSize, members_of
from normlab.specs.packs import obstacle
from service.jobs import leases
from service.jobs.leases import Lease
from service.jobs.running_limits import refusal
from service.jobs.turns import CLAIMABLE
from service.store.database import Database

_CANDIDATES = 4  # looked at for each member that is wanted
# the newest checkpoint: members train the same updates
_STEP = """
    coalesce((select max(step) from artifact
              where artifact.job = {job}.id and artifact.kind = 'checkpoint'), -1)
"""
_ASKED = text(f"""
    select study.spec ->> 'pack' as pack, head.study, {_STEP.format(job="head")} as step
    from job head join study on study.id = head.study
    where head.id = :job and head.attempt - 1 = head.forgiven
""")
_MATES = text(f"""
    select id, project, spec, {_STEP.format(job="job")} as step from job
    where study = :study and owner = :owner and normalizer = :normalizer and model = :model
        and dataset = :dataset and batch_size = :batch_size and attempt = forgiven and {CLAIMABLE}
    order by priority desc, created_at, id limit :limit for update skip locked
""")


def with_mates(database: Database, head: Lease, lease_s: float) -> Lease:
    """Return *head* with the leases of mates that its worker takes now, if its study packs."""
    if head.device != "cpu" or obstacle([head.spec]) is not None:
        return head
    with database.begin() as connection:
        asked = connection.execute(_ASKED, {"job": head.job}).first()
        if asked is None or asked.pack is None:
            return head
        wanted = members_of(head.spec, _size(asked.pack)) - 1
        if wanted < 1:
            return head
        return replace(head, mates=tuple(_mates(connection, head, asked, wanted, lease_s)))


def _size(asked: str) -> PackSize:
    if asked == "auto":
        return "auto"
    return int(asked) if asked.isdecimal() else "off"


def _mates(
    connection: Connection, head: Lease, asked: Any, wanted: int, lease_s: float
) -> list[Lease]:
    spec = head.spec
    values = {
        "study": asked.study,
        "owner": head.owner,
        "device": head.device,
        "most_replicas": 1,
        "most_hosts": 1,
        "unloadable": [],
        "full": [],
        "normalizer": spec.normalizer.kind,
        "model": spec.model.name,
        "dataset": spec.dataset.name,
        "batch_size": spec.batch_size,
        "limit": _CANDIDATES * wanted,
    }
    found: list[Lease] = []
    for row in connection.execute(_MATES, values).all():
        if len(found) == wanted:
            break
        if row.step == asked.step and _fits(spec, row.spec):
            if refusal(connection, head.owner, row.project, 1) is not None:
                break
            mate = leases.take(connection, row.id, head.device, head.worker, lease_s)
            found += [] if mate is None else [mate]
    return found


def _fits(spec: JobSpec, stored: Any) -> bool:
    try:
        return obstacle([spec, JobSpec.from_store(stored)]) is None
    except ValueError:  # its own claim says why it cannot be read
        return False
