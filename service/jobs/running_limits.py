"""
Limits on what starts: a job that would exceed one waits, while those of others start.

They count running jobs and devices, and the device hours of the month and the storage that are
already used.

A claim of a limited job holds a lock until it is committed, and counts running jobs under that
lock, so that two workers cannot both take the last place. One lock serves all limits: with one lock
per limit, two claims that look at several owners could deadlock. Claims of jobs without a limit
never take it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, text

from normlab.counting import size
from service.jobs.allowances import limit_of
from service.jobs.consumption import USED

Subject = Literal["owner", "project"]
_SUBJECTS: Sequence[Subject] = ("owner", "project")
_KINDS = [(subject, what) for subject in _SUBJECTS for what in USED]
LIMITED = f"exists (select from allowance where what in ({', '.join(map(repr, USED))}))"
"""In SQL: whether there is any limit on what starts."""

_LOCK = text("select pg_advisory_xact_lock(hashtextextended('normlab running limits', 0))")
_ANY = text(f"select {LIMITED}")


def _used(subject: str, what: str, name: str) -> str:
    return USED[what].format(subject=subject, name=name)


_LIMITS = text("select " + ", ".join(
    f"{limit_of(subject, what, f'cast(:{subject} as text)')} as {subject}_{what}"
    for subject, what in _KINDS
))  # fmt: skip
_USED = text("select " + ", ".join(
    f"case when cast(:{subject}_{what} as bigint) is not null"
    f" then {_used(subject, what, f'cast(:{subject} as text)')} end as {subject}_{what}"
    for subject, what in _KINDS
))  # fmt: skip
_FULL = text(" union all ".join(
    f"""
    select '{subject}' as subject, n.name, '{what}' as what, m.most, u.used::double precision
    from unnest(cast(:{subject}s as text[])) n(name)
    cross join lateral (select {limit_of(subject, what, "n.name")} as most) m
    cross join lateral (select {_used(subject, what, "n.name")} as used where m.most is not null) u
    where u.used >= m.most
    """
    for subject, what in _KINDS
))  # fmt: skip


class Held(NamedTuple):
    """A limit that keeps a job from starting."""

    subject: Subject
    name: str
    what: str
    most: int
    used: float

    def __str__(self) -> str:
        """Say what the job waits for."""
        return _WORDS[self.what](self)

    @property
    def whose(self) -> str:
        """Name the owner or project."""
        return f"{self.subject} {self.name!r}"


_ADMINS = "admins change it with normlab limits set"
_WORDS: Mapping[str, Callable[[Held], str]] = {
    "running": lambda h: (
        f"a free place: at most {h.most} jobs of {h.whose} run at once, and {h.used:g} do now "
        f"({_ADMINS})"
    ),
    "devices": lambda h: (
        f"a free place: at most {h.most} devices of {h.whose} are used at once, and {h.used:g} "
        f"are now ({_ADMINS})"
    ),
    "device_hours_per_month": lambda h: (
        f"the next month (UTC): {h.whose} may use {h.most} device hours in a month, and has used "
        f"{h.used:.2f} ({_ADMINS})"
    ),
    "storage_bytes": lambda h: (
        f"storage: {h.whose} may keep {size(h.most)}, and keeps {size(h.used)} (make room with "
        f"normlab rm and normlab gc; {_ADMINS})"
    ),
}


def refusal(connection: Connection, owner: str, project: str, devices: int) -> Held | None:
    """
    Return the limit that keeps a job from starting now; None: it may start in this transaction.

    Args:
        devices: the number of devices that the job would use.
    """
    names: dict[str, Any] = {"owner": owner, "project": project}
    limits = connection.execute(_LIMITS, names).mappings().one()
    if all(most is None for most in limits.values()):
        return None
    connection.execute(_LOCK)
    used = connection.execute(_USED, {**names, **limits}).mappings().one()
    more = {"running": 1, "devices": devices}
    for subject, what in _KINDS:
        most, now = limits[f"{subject}_{what}"], used[f"{subject}_{what}"]
        if most is not None and _is_full(most, float(now), more.get(what)):
            return Held(subject, names[subject], what, most, float(now))
    return None


def holding_back(connection: Connection, jobs: Sequence[Any]) -> Mapping[tuple[str, str], Held]:
    """Return by (subject, name) which limits hold back the queued *jobs*, for people to read."""
    if not jobs or not connection.execute(_ANY).scalar_one():
        return {}
    values = {
        "owners": sorted({j.owner for j in jobs}),
        "projects": sorted({j.project for j in jobs}),
    }
    rows = connection.execute(_FULL, values)
    return {(row.subject, row.name): Held(*row) for row in rows}


def _is_full(most: int, used: float, more: int | None) -> bool:
    """Whether a job that adds *more* may not start; None: how much it will add is not known."""
    return used >= most if more is None else used + more > most
