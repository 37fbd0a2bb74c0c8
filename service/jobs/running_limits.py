"""
Limits on running jobs: a job that would exceed one waits, while those of others start.

Whoever claims a limited job holds a lock until the claim is committed, and counts what runs under
it, so that two workers cannot both take the last place. It is one lock for all limits: with one
for each, two claims that look at several owners could wait for each other. Claims of jobs
without a limit never take it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, text

from service.jobs.allowances import MOST

LIMITED = "exists (select from allowance where what in ('running', 'devices'))"
"""In SQL: whether there is any limit on running jobs."""

_LOCK = text("select pg_advisory_xact_lock(hashtextextended('normlab running limits', 0))")
_MOSTS = ", ".join(
    f"{MOST.format(subject=subject, what=what, name=f'cast(:{subject} as text)')}"
    f" as {subject}_{what}"
    for subject in ("owner", "project")
    for what in ("running", "devices")
)
_LIMITS = text(f"select {_MOSTS}")
_DEVICES = "coalesce(sum(coalesce((spec ->> 'replicas')::int, 1)), 0)"
_USED = {
    subject: text(f"""
        select count(*) as running, {_DEVICES} as devices from job
        where state = 'running' and {subject} = :name
    """)
    for subject in ("owner", "project")
}
_FULL = text(f"""
    select kind.subject, kind.name, kind.what, kind.most, count(j.id) as running,
        coalesce(sum(coalesce((j.spec ->> 'replicas')::int, 1)), 0) as devices
    from (
        select 'owner' as subject, o.name, w.what, case w.what
            when 'running' then {MOST.format(subject="owner", what="running", name="o.name")}
            else {MOST.format(subject="owner", what="devices", name="o.name")} end as most
        from unnest(cast(:owners as text[])) o(name), (values ('running'), ('devices')) w(what)
        union all
        select 'project', p.name, w.what, case w.what
            when 'running' then {MOST.format(subject="project", what="running", name="p.name")}
            else {MOST.format(subject="project", what="devices", name="p.name")} end
        from unnest(cast(:projects as text[])) p(name), (values ('running'), ('devices')) w(what)
    ) kind
    left join job j on j.state = 'running'
        and case kind.subject when 'owner' then j.owner else j.project end = kind.name
    where kind.most is not null group by 1, 2, 3, 4
""")
_ANY = text(f"select {LIMITED}")
Subject = Literal["owner", "project"]


class Held(NamedTuple):
    """A limit that keeps a job from starting."""

    subject: Subject
    name: str
    what: str
    most: int
    used: int

    def __str__(self) -> str:
        """Say what is waited for."""
        nouns = {"running": "jobs run at once", "devices": "devices be in use at once"}
        return (
            f"a place: of {self.subject} {self.name!r}, at most {self.most} {nouns[self.what]}, "
            f"and {self.used} do now (admins change it with normlab limits set)"
        )


def refusal(connection: Connection, owner: str, project: str, devices: int) -> Held | None:
    """
    Return the limit that keeps a job from starting now; None: it may start in this transaction.

    Args:
        devices: that the job would use.
    """
    names: dict[Subject, str] = {"owner": owner, "project": project}
    limits = connection.execute(_LIMITS, {"owner": owner, "project": project}).mappings().one()
    if all(most is None for most in limits.values()):
        return None
    connection.execute(_LOCK)
    wanted = {"running": 1, "devices": devices}
    for subject, name in names.items():
        used = connection.execute(_USED[subject], {"name": name}).mappings().one()
        for what, more in wanted.items():
            most = limits[f"{subject}_{what}"]
            if most is not None and used[what] + more > most:
                return Held(subject, name, what, most, used[what])
    return None


def holding_back(connection: Connection, jobs: Sequence[Any]) -> Mapping[tuple[str, str], Held]:
    """Return by (subject, name) which limits hold back the queued *jobs*, for people to read."""
    if not jobs or not connection.execute(_ANY).scalar_one():
        return {}
    values = {
        "owners": sorted({j.owner for j in jobs}),
        "projects": sorted({j.project for j in jobs}),
    }
    found = {}
    for row in connection.execute(_FULL, values):
        used = row.running if row.what == "running" else row.devices
        if used >= row.most:
            found[row.subject, row.name] = Held(row.subject, row.name, row.what, row.most, used)
    return found
