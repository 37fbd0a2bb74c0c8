"""
The limits on what an owner may add to a queue, and on what a project may have in it.

Queued jobs are counted one request after another. Cells that a study has accepted and not queued
yet count as queued. A limit that an admin has set replaces the service's own. An owner without
storage left cannot add anything.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from normlab.counting import size
from normlab.errors import QuotaExceeded
from service.jobs.allowances import limit_of
from service.jobs.consumption import USED

# A request that adds to a queue holds these locks until it commits, that of the owner first.
# Otherwise two concurrent requests would not count each other. Far from the limits, requests share
# the locks. Rows that several requests may add at once (turns, and code that a project sees) are
# added after the lock and in order, because one addition waits for the other.
_OWNER = "hashtextextended('normlab queue of ' || {owner}, 0)"
_PROJECT = "hashtextextended('normlab queue of the project ' || {project}, 0)"
_BOTH = (
    f"select pg_advisory_xact_lock{{shared}}({_OWNER}), pg_advisory_xact_lock{{shared}}({_PROJECT})"
)
LOCK = _BOTH.format(shared="", owner="%(owner)s::text", project="%(project)s::text")
"""A statement for the driver's own cursor, with the owner and the project."""
LOCK_SHARED = _BOTH.format(shared="_shared", owner="%(owner)s::text", project="%(project)s::text")
"""Like LOCK, for a single job while at least MARGIN more jobs fit."""
MARGIN = 1000
"""More than the connections of a database, and so more than concurrent single submissions."""


def _stored(subject: str, name: str) -> str:
    return USED["storage_bytes"].format(subject=subject, name=name)


def limits(owner: str, project: str, fallback: str) -> str:
    """
    Return the SQL of the limits on adding something, each of which may be null.

    On queued jobs `of_owner` and `of_project`, on the priority `highest`; and `is_full`: whether
    one of the two has no storage left.
    """
    return f"""
        coalesce({limit_of("owner", "queued", owner)}, {fallback}) as of_owner,
        {limit_of("project", "queued", project)} as of_project,
        least({limit_of("owner", "priority", owner)}, {limit_of("project", "priority", project)})
        as highest,
        case when exists (select from allowance where what = 'storage_bytes') then coalesce(
            {_stored("owner", owner)} >= {limit_of("owner", "storage_bytes", owner)}, false
        ) or coalesce(
            {_stored("project", project)} >= {limit_of("project", "storage_bytes", project)}, false
        ) else false end as is_full
    """


_LOCK = text(
    _BOTH.format(shared="", owner="cast(:owner as text)", project="cast(:project as text)")
)
_LIMITS = limits("cast(:owner as text)", "cast(:project as text)", "cast(:most as int)")
_STORED = text(f"""
    select {limit_of("owner", "storage_bytes", ":owner")} as of_owner,
        {_stored("owner", ":owner")} as owners,
        {limit_of("project", "storage_bytes", ":project")} as of_project,
        {_stored("project", ":project")} as projects
""")
_STAND = text(f"""
    select {_LIMITS},
        (select count(*) from job where owner = :owner and state = 'queued')
        + (select coalesce(sum(planned), 0) from study where owner = :owner and planned > 0)
        as owners,
        case when {limit_of("project", "queued", ":project")} is null then 0
        else (select count(*) from job where project = :project and state = 'queued')
        + (select coalesce(sum(planned), 0) from study where project = :project and planned > 0)
        end as projects
""")


def lock(connection: Connection, owner: str, project: str) -> None:
    """Wait for others who add to the queues of *owner* and *project*, and keep them waiting."""
    connection.execute(_LOCK, {"owner": owner, "project": project})


def reserve(
    connection: Connection, owner: str, project: str, wanted: int, most: int | None
) -> None:
    """
    Let this transaction queue *wanted* more jobs of *owner*; call it before adding them.

    Args:
        most: the service's limit of queued jobs for *owner*; None: no limit at all.

    Raises:
        QuotaExceeded: with the numbers; then nothing may be queued.
    """
    if room(connection, owner, project, most, wanted) < wanted:
        raise refusal(connection, owner, project, wanted, most)


def keep_within(
    connection: Connection, owner: str, project: str, added: int, most: int | None
) -> None:
    """
    Count the queued jobs after this transaction has queued or planned *added* more.

    Call it last: other requests of the owner wait from here until the transaction ends.

    Raises:
        QuotaExceeded: with the numbers; then the transaction must not commit.
    """
    if most is None or added <= 0:
        return
    if room(connection, owner, project, most, 1, over=True) < 0:
        raise refusal(connection, owner, project, added, most, counted=True)


def room(
    connection: Connection,
    owner: str,
    project: str,
    most: int | None,
    wanted: int,
    *,
    over: bool = False,
) -> int:
    """
    Return how many of *wanted* jobs this transaction may queue; the rest must wait.

    Args:
        over: return less than zero, if there are more than are allowed.
    """
    if most is None or wanted == 0:
        return wanted
    lock(connection, owner, project)
    stand = _stand(connection, owner, project, most)
    left = int(stand.of_owner - stand.owners)
    if stand.of_project is not None:
        left = min(left, int(stand.of_project - stand.projects))
    if stand.is_full:
        left = min(left, -1)
    return min(wanted, left if over else max(0, left))


def refusal(
    connection: Connection,
    owner: str,
    project: str,
    wanted: int,
    most: int | None,
    *,
    counted: bool = False,
) -> QuotaExceeded:
    """
    Return the error of a request that would exceed a limit.

    Args:
        counted: the *wanted* jobs are among those that are queued.
    """
    stand = _stand(connection, owner, project, most)
    if stand.is_full and (refused := _no_storage(connection, owner, project)) is not None:
        return refused
    more = wanted if counted else 0
    whose, queued, limit = f"{owner!r}", stand.owners - more, stand.of_owner
    if limit is None or queued + wanted <= limit:
        whose, queued, limit = f"project {project!r}", stand.projects - more, stand.of_project
    return QuotaExceeded(
        f"{whose} has {queued} jobs queued, and this adds {wanted}; it may have at most "
        f"{limit}; {_way_out(wanted, limit)}"
    )


def _stand(connection: Connection, owner: str, project: str, most: int | None) -> Any:
    values = {"owner": owner, "project": project, "most": most}
    return connection.execute(_STAND, values).one()


def _no_storage(connection: Connection, owner: str, project: str) -> QuotaExceeded | None:
    """Return the error for an owner without storage left; None: there is some again."""
    found = connection.execute(_STORED, {"owner": owner, "project": project}).one()
    of_both = (
        (f"{owner!r}", found.owners, found.of_owner),
        (f"project {project!r}", found.projects, found.of_project),
    )
    for whose, used, most in of_both:
        if most is not None and used >= most:
            return QuotaExceeded(
                f"{whose} keeps {size(used)}, and may keep {size(most)}: make room with normlab rm "
                "and normlab gc (normlab usage shows what takes it), or have an admin raise it "
                "with normlab limits set"
            )
    return None


def _way_out(wanted: int, most: int | None) -> str:
    if most is not None and wanted > most:
        return (
            "ask for fewer at once, or have an admin raise it with normlab limits set, or "
            "NORMLAB_MAX_QUEUED_PER_OWNER for all owners"
        )
    return "try again when enough of them have started, or ask for fewer"
