"""Limits that admins set for owners and projects: their values, which one applies, and the use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records.limits import EACH, LimitRecord, LimitRequest, Subject
from service.jobs.consumption import USED
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database

_OF_BOTH = (
    "queued", "running", "devices", "device_hours_per_month", "storage_bytes", "priority",
)  # fmt: skip
WHATS: Mapping[Subject, Sequence[str]] = {
    "owner": (*_OF_BOTH, "requests_per_minute"),
    "project": _OF_BOTH,
}
_PUT = text("""
    insert into allowance (subject, name, what, most) values (:subject, :name, :what, :most)
    on conflict (subject, name, what) do update set most = excluded.most
""")
_REMOVE = text("""
    delete from allowance where subject = :subject and name = :name and what = :what
""")
_SET = text("""
    select what, name, most from allowance
    where subject = :subject and name in (:name, :each) order by name = :each desc
""")
_QUEUED = """
    (select count(*) from job where {subject} = {name} and state = 'queued')
    + (select coalesce(sum(planned), 0) from study where {subject} = {name} and planned > 0)
"""
_USED = {
    subject: text("select " + ", ".join(
        f"({used.format(subject=subject, name=':name')}) as {what}"
        for what, used in {"queued": _QUEUED, **USED}.items()
    ))
    for subject in WHATS
}  # fmt: skip


def limit_of(subject: str, what: str, name: str) -> str:
    """Return in SQL the limit of *what* for the owner or project *name*; null: none is set."""
    return f"""
        (select most from allowance
         where subject = '{subject}' and what = '{what}' and name in ({name}, '*')
         order by name = '*' limit 1)
    """


def put(database: Database, asked: LimitRequest, by: Actor) -> None:
    """
    Set the given limits, and remove those that are null.

    Raises:
        InvalidSpec: nothing is given, or a limit that this kind of subject does not have.
    """
    given = sorted(asked.model_fields_set - {"subject", "name"})
    _refuse_unfit(asked.subject, given)
    whose = {"subject": asked.subject, "name": asked.name}
    with database.begin() as connection:
        for what in given:
            most = getattr(asked, what)
            values = {**whose, "what": what}
            if most is None:
                connection.execute(_REMOVE, values)
            else:
                connection.execute(_PUT, {**values, "most": most})
        told = {what: getattr(asked, what) for what in given}
        audit.write(connection, by, "limits.set", f"{asked.subject} {asked.name}", **told)


def read(
    database: Database, subject: Subject, name: str, most_queued: int | None = None
) -> list[LimitRecord]:
    """
    Return every limit of an owner or a project, with its use.

    Args:
        most_queued: the service's own limit of an owner's queued jobs, if none is set.
    """
    with database.autocommit() as connection:
        held = _held(connection, subject, name, most_queued)
        used: dict[str, Any] = {}
        if name != EACH:
            used.update(connection.execute(_USED[subject], {"name": name}).mappings().one())
    return [
        LimitRecord(
            subject=subject,
            name=name,
            what=what,
            most=most,
            source=source,
            used=_rounded(what, used.get(what)),
        )
        for what, (most, source) in held.items()
    ]


def rate_of(database: Database, owner: str) -> int | None:
    """Return how many requests per minute a token of *owner* may make; None: any number."""
    with database.autocommit() as connection:
        return _held(connection, "owner", owner, None)["requests_per_minute"][0]


def _held(
    connection: Connection, subject: Subject, name: str, most_queued: int | None
) -> dict[str, tuple[int | None, str]]:
    held: dict[str, tuple[int | None, str]] = dict.fromkeys(WHATS[subject], (None, "service"))
    if subject == "owner":
        held["queued"] = (most_queued, "service")
    values = {"subject": subject, "name": name, "each": EACH}
    for row in connection.execute(_SET, values):  # its own limits come last and override the others
        held[row.what] = (row.most, row.name)
    return held


def _rounded(what: str, used: Any) -> float | None:
    if used is None:
        return None
    return round(float(used), 3) if what == "device_hours_per_month" else int(used)


def _refuse_unfit(subject: Subject, given: Sequence[str]) -> None:
    fitting = ", ".join(WHATS[subject])
    if not given:
        raise InvalidSpec.of([FieldProblem("limits", f"name at least one of {fitting}")])
    unfit = [what for what in given if what not in WHATS[subject]]
    if unfit:
        rule = f"is not a limit of a {subject}; it has {fitting}"
        raise InvalidSpec.of([FieldProblem(what, rule) for what in unfit])
