"""What is found when somebody looks at the parts of a stack."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["ok", "warn", "bad"]
SET_CLOCKS = "set both clocks by NTP; leases are safe, they go by the database's clock"


class Finding(NamedTuple):
    """What one check found; *mend* says what to do, and is empty where all is well."""

    check: str
    verdict: Verdict
    found: str
    mend: str = ""
