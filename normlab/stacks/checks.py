"""The findings of checks on the parts of a stack."""

from __future__ import annotations

from typing import Literal, NamedTuple

Grade = Literal["ok", "warn", "bad"]
SET_CLOCKS = (
    "synchronize both clocks with NTP; leases are safe, because they use the database's clock"
)


class Check(NamedTuple):
    """The result of one check; *mend* says what to do, and is empty if nothing is wrong."""

    check: str
    verdict: Grade
    found: str
    mend: str = ""
