"""What lists of the trash say: until when a thing is kept, and what else is there."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Optional

from normlab.cli.output import ago
from normlab.counting import counted

if TYPE_CHECKING:
    from normlab.records.keeping import TrashRecord

KEPT_UNTIL = "kept until"


def moment(found: Optional[TrashRecord], created: datetime, deleted: Optional[datetime]) -> str:
    """Tell how old a job or a study is; in a list of the trash *found*, until when it is kept."""
    if found is None or deleted is None:
        return ago(created)
    until = deleted + timedelta(days=found.days)
    return f"{until:%Y-%m-%d %H:%M %Z}" if until > datetime.now(timezone.utc) else "being purged"


def studies_too(found: Optional[TrashRecord]) -> str:
    """Say how many studies are in the trash *found*; empty if there are none, or no trash."""
    if found is None or not found.studies:
        return ""
    are = "is" if found.studies == 1 else "are"
    count = counted(found.studies, "study", "studies")
    return f"{count} {are} in the trash; to list: normlab study ls --trash"
