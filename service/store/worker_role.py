"""
The rights of a database role for workers: they can work on jobs, and cannot see any tokens. Workers
have no access to tables that are not named here, including tables that later versions add. Triggers
that run when a worker moves a job write with the rights of the tables' owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec

_READ, _ADD, _WRITE = "select", "select, insert", "select, insert, update"
_ALL = "select, insert, update, delete"
# Columns of a job's progress; not its owner, its specification, or whether it is in the trash.
_LIFE = (
    "state", "attempt", "forgiven", "pack_limit", "packed", "lease_until", "not_before", "worker",
    "ran_s", "stored_bytes", "runtime", "timing_valid", "step", "steps", "epoch", "epochs",
    "summary", "error", "started_at", "finished_at",
)  # fmt: skip

RIGHTS: Mapping[str, str] = {
    "job": f"select, update ({', '.join(_LIFE)})",
    "attempt": _WRITE,
    "turn": "select, update (served_at)",
    "seat": _ALL,
    "artifact": _ALL,
    "metric_key": _ADD,
    "metric_chunk": _ALL,
    "metric_last": _ALL,
    "event": _ADD,
    "log_segment": _ADD,
    "diagnostic": _WRITE,
    "worker": _ALL,
    "tally": _WRITE,
    "device_time": _WRITE,
    "storage": _WRITE,
    "study": _READ,
    "plugin": _READ,
    "upload": _READ,
    "allowance": _READ,
    "release": _READ,
    "discarded": _READ,
    "alembic_version": _READ,
}
CLOSED = frozenset(
    {"token", "session", "audit", "project", "member", "saved_view", "delivery", "study_cell",
     "study_look", "keep_rule", "job_count", "job_move", "job_index", "loop_place"}
)  # fmt: skip
"""Tables that workers neither read nor write."""

_FACTS = text("""
    select rolsuper as super, rolname = current_user as ours, current_user as own,
        pg_has_role(current_user, oid, 'member') as member
    from pg_roles where rolname = :role
""")
_SEQUENCES = text("""
    select pg_get_serial_sequence(quote_ident(t), c) from
        (values ('event', 'seq'), ('metric_key', 'id')) as of(t, c)
""")


def grant(connection: Connection, role: str) -> None:
    """
    Give *role* the rights that a worker needs, and revoke all others.

    Raises:
        InvalidSpec: the role does not exist, its rights cannot be limited, or the API could not end
            the connections of a lost worker.
    """
    _refuse(connection, role)
    for statement in _statements(connection, f'"{role}"'):
        connection.execute(text(statement))


def _refuse(connection: Connection, role: str) -> None:
    found = connection.execute(_FACTS, {"role": role}).first()
    if found is None:
        raise InvalidSpec(
            f"there is no database role {role!r}; make it first: create role {role} login password "
            "'...'"
        )
    if found.super or found.ours:
        what = "is a superuser" if found.super else "owns the tables"
        raise InvalidSpec(f"the role {role!r} {what}, so nothing can be kept from it; name another")
    if not found.member:
        raise InvalidSpec(
            f"the API could not end the connections of a lost worker; as a superuser: "
            f"grant {role} to {found.own}"
        )


def _statements(connection: Connection, role: str) -> Iterator[str]:
    yield f"revoke all on all tables in schema public from {role}"
    yield f"revoke all on all sequences in schema public from {role}"
    yield f"grant usage on schema public to {role}"
    for table, rights in RIGHTS.items():
        yield f'grant {rights} on "{table}" to {role}'
    for sequence in connection.execute(_SEQUENCES).scalars():
        yield f"grant usage on sequence {sequence} to {role}"
