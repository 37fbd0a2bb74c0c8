"""How many jobs an owner may have queued: counted by one of his requests after the other."""

from __future__ import annotations

from sqlalchemy import Connection, text

from normlab.errors import QuotaExceeded

# Who adds to an owner's queue holds this lock until what he added is committed: otherwise each of
# two who add at once would count without the other. Those who are far from the limit share it.
_KEY = "hashtextextended('normlab queue of ' || {owner}, 0)"
LOCK = f"select pg_advisory_xact_lock({_KEY.format(owner='%s')})"
"""For the driver's own cursor, with the owner."""
LOCK_SHARED = f"select pg_advisory_xact_lock_shared({_KEY.format(owner='%s')})"
"""As LOCK, for one job where at least MARGIN more have room."""
MARGIN = 1000
"""More than the connections of a database: so many single jobs may be added at once."""

_LOCK = text(f"select pg_advisory_xact_lock({_KEY.format(owner='cast(:owner as text)')})")
_QUEUED = text("select count(*) from job where owner = :owner and state = 'queued'")


def reserve(connection: Connection, owner: str, wanted: int, most: int | None) -> None:
    """
    Let this transaction queue *wanted* more jobs of *owner*; call it before they are there.

    Args:
        most: that *owner* may have queued; None: any number.

    Raises:
        QuotaExceeded: with the numbers; nothing may be queued then.
    """
    if room(connection, owner, most, wanted) < wanted:
        queued = connection.execute(_QUEUED, {"owner": owner}).scalar_one()
        raise QuotaExceeded(
            f"{owner!r} has {queued} jobs queued, and this adds {wanted}: the most that this "
            f"service allows are {most}; {_way_out(wanted, most)}"
        )


def room(connection: Connection, owner: str, most: int | None, wanted: int) -> int:
    """Return how many of *wanted* jobs may be queued in this transaction; the rest must wait."""
    if most is None or wanted == 0:
        return wanted
    connection.execute(_LOCK, {"owner": owner})
    queued = int(connection.execute(_QUEUED, {"owner": owner}).scalar_one())
    return max(0, min(wanted, most - queued))


def _way_out(wanted: int, most: int | None) -> str:
    if most is not None and wanted > most:
        return "ask for fewer at once, or have NORMLAB_MAX_QUEUED_PER_OWNER raised"
    return "try again when enough of them have started, or ask for fewer"
