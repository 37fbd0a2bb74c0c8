"""
The limit on an owner's queued jobs: requests of one owner are counted one after another.

Cells that a study has accepted and not queued yet count as queued.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from normlab.errors import QuotaExceeded

# A request that adds to an owner's queue holds this lock until it commits. Otherwise each of
# two concurrent requests would not count the other. Far from the limit, requests share the lock.
_KEY = "hashtextextended('normlab queue of ' || {owner}, 0)"
LOCK = f"select pg_advisory_xact_lock({_KEY.format(owner='%s')})"
"""For the driver's own cursor, with the owner."""
LOCK_SHARED = f"select pg_advisory_xact_lock_shared({_KEY.format(owner='%s')})"
"""Like LOCK, for a single job while at least MARGIN more jobs fit."""
MARGIN = 1000
"""More than the connections of a database, and so more than concurrent single submissions."""

_LOCK = text(f"select pg_advisory_xact_lock({_KEY.format(owner='cast(:owner as text)')})")
_QUEUED = text("""
    select (select count(*) from job where owner = :owner and state = 'queued')
        + (select coalesce(sum(planned), 0) from study where owner = :owner and planned > 0)
""")


def reserve(connection: Connection, owner: str, wanted: int, most: int | None) -> None:
    """
    Let this transaction queue *wanted* more jobs of *owner*; call it before adding them.

    Args:
        most: the limit of queued jobs for *owner*; None: no limit.

    Raises:
        QuotaExceeded: with the numbers; then nothing may be queued.
    """
    if room(connection, owner, most, wanted) < wanted:
        raise _exceeded(owner, _queued(connection, owner), wanted, most)


def keep_within(connection: Connection, owner: str, added: int, most: int | None) -> None:
    """
    Count *owner*'s jobs after this transaction has queued or planned *added* more.

    Call it last: the other requests of the owner wait from here until the transaction ends.

    Raises:
        QuotaExceeded: with the numbers; then the transaction must not commit.
    """
    if most is None or added <= 0:
        return
    connection.execute(_LOCK, {"owner": owner})
    queued = _queued(connection, owner)
    if queued > most:
        raise _exceeded(owner, queued - added, added, most)


def room(connection: Connection, owner: str, most: int | None, wanted: int) -> int:
    """Return how many of *wanted* jobs this transaction may queue; the rest must wait."""
    if most is None or wanted == 0:
        return wanted
    connection.execute(_LOCK, {"owner": owner})
    return max(0, min(wanted, most - _queued(connection, owner)))


def _queued(connection: Connection, owner: str) -> int:
    return int(connection.execute(_QUEUED, {"owner": owner}).scalar_one())


def _exceeded(owner: str, queued: int, wanted: int, most: int | None) -> QuotaExceeded:
    return QuotaExceeded(
        f"{owner!r} has {queued} jobs queued, and this adds {wanted}: the most that this "
        f"service allows are {most}; {_way_out(wanted, most)}"
    )


def _way_out(wanted: int, most: int | None) -> str:
    if most is not None and wanted > most:
        return "ask for fewer at once, or have NORMLAB_MAX_QUEUED_PER_OWNER raised"
    return "try again when enough of them have started, or ask for fewer"
