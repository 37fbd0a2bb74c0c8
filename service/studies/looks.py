"""The looks that were taken at a study which decides: once taken, they are never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, text

from normlab.errors import Conflict
from normlab.presentation.judging import UNDECIDED, LookResult
from normlab.records.decisions import LookRecord
from service.store import schema

_LOOKS = text("""
    select comparison, seeds, at, verdict, finding from study_look
    where study = :study order by seeds, comparison
""")
_ANY = text("select exists (select from study_look where study = :study)")

Looks = dict[str, list[LookRecord]]
"""For each comparison its looks, in order."""


def read(connection: Connection, study: UUID) -> Looks:
    """Return all looks of *study*."""
    found: Looks = {}
    for row in connection.execute(_LOOKS, {"study": study}):
        record = LookRecord(seeds=row.seeds, at=row.at, verdict=row.verdict, **row.finding)
        found.setdefault(row.comparison, []).append(record)
    return found


def store(
    connection: Connection, study: UUID, seeds: int, findings: Mapping[str, LookResult]
) -> None:
    """Store the result of a look with this number of *seeds*."""
    connection.execute(
        insert(schema.study_look),
        [
            {"study": study, "seeds": seeds, "comparison": key, "verdict": finding.verdict,
             "finding": _without_verdict(finding)}
            for key, finding in findings.items()
        ],
    )  # fmt: skip


def seeds_of(looks: Looks) -> list[int]:
    """List the number of seeds at each look."""
    return sorted({look.seeds for of in looks.values() for look in of})


def verdict_of(looks: Looks, comparison: str) -> str:
    """Return the state of *comparison*."""
    taken = looks.get(comparison)
    return taken[-1].verdict if taken else UNDECIDED


def refuse_if_taken(connection: Connection, study: UUID) -> None:
    """
    Raise Conflict once a look was taken.

    The question must not depend on results that were seen. Another study may ask another question,
    and reuses the cells.
    """
    if connection.execute(_ANY, {"study": study}).scalar_one():
        raise Conflict(
            f"study {study} decides, and has been looked at, so its question cannot be changed; "
            "ask another one in a study of another name, which takes over the cells"
        )


def _without_verdict(finding: LookResult) -> dict[str, Any]:
    return {name: value for name, value in asdict(finding).items() if name != "verdict"}
