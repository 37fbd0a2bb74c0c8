"""Refuse stacks whose files of jobs are where backups do not reach."""

from __future__ import annotations

from normlab.errors import InvalidSpec


def refuse_elsewhere(storage: str) -> None:
    """Raise InvalidSpec if *storage*, as NORMLAB_STORAGE names it, is not in the data folder."""
    if storage:
        raise InvalidSpec(
            f"the files of jobs are in {storage} (NORMLAB_STORAGE), which backups do not reach; "
            "copy them with the storage's own tools, before and after pg_dump"
        )
