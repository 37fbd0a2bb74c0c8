"""
Imported first by `python -m api`: blocks modules that this process must not load.

structlog loads rich, if it is installed, for coloured tracebacks; ours are lines of JSON. httpx
loads pygments for its own command. Together that is 5 of the 120 MB that an API process may have.
"""

from __future__ import annotations

import sys
from typing import Any

modules: dict[str, Any] = sys.modules
for name in ("rich", "pygments"):
    modules.setdefault(name, None)  # an import then fails, as if it were not installed
