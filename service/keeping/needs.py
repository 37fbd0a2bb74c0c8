"""
The files that jobs still need: those that wait or run, and those that studies are going to add.

A job needs the checkpoint that it continues, and the weights that it starts from. Weights are named
by their content, or by a twin, which is found by its fingerprint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.starting_twins import starting_twin

_MOST_TWINS = 500  # each takes a few milliseconds
_OF_JOBS = text("""
    select spec #>> '{continues,sha256}' as continues, spec #>> '{init_from,sha256}' as start
    from job where state in ('queued', 'running') and trashed_at is null
        and (jsonb_typeof(spec -> 'continues') = 'object'
            or jsonb_typeof(spec -> 'init_from') = 'object')
""")
_TWINS = text("""
    select spec from job where state in ('queued', 'running') and trashed_at is null
        and jsonb_typeof(spec #> '{init_from,twin}') = 'object'
    limit :limit
""")
# It has cells that are not queued yet, or may add some
_OF_STUDIES = text("""
    select spec::text from study where trashed_at is null and (planned > 0
        or state in ('active', 'paused') and jsonb_exists_any(spec, array['search', 'decide']))
""")
_CONTENT = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")


@dataclass(frozen=True)
class Needs:
    """What must stay: files by content, weights by the fingerprint of the job that trained them."""

    contents: frozenset[str]
    twins: frozenset[str]
    jobs: frozenset[str]
    """Jobs all of whose files must stay, by the 32 digits of their ids."""
    all_weights: bool
    """Whether twins are named that were not looked up, so that any job may be one."""

    def keep(self, file: Any, job: Any) -> bool:
        """Return whether *file* of *job* must stay."""
        if file.sha256 in self.contents or job.id.hex in self.jobs:
            return True
        return file.kind == "weights" and (self.all_weights or job.fingerprint in self.twins)


def needs_now(connection: Connection) -> Needs:
    """Return the files that must stay now."""
    named = {content for row in connection.execute(_OF_JOBS) for content in row if content}
    studies = connection.execute(_OF_STUDIES).scalars().all()
    twins = connection.execute(_TWINS, {"limit": _MOST_TWINS + 1}).scalars().all()
    too_many = len(twins) > _MOST_TWINS
    return Needs(
        contents=frozenset(named.union(*(_CONTENT.findall(spec) for spec in studies))),
        twins=frozenset() if too_many else frozenset(filter(None, map(_fingerprint, twins))),
        jobs=frozenset(
            found.replace("-", "").lower() for spec in studies for found in _ID.findall(spec)
        ),
        all_weights=too_many or any('"twin"' in spec or ".twin" in spec for spec in studies),
    )


def _fingerprint(stored: Any) -> str | None:
    """Return the fingerprint of a job's twin; None: it names no valid twin, and will fail."""
    try:
        twin = starting_twin(JobSpec.from_store(stored))
    except (ValueError, InvalidSpec):
        return None
    return None if twin is None else twin.fingerprint()
