"""
Imported before all else by `python -m api`: what this process shall not load.

structlog loads rich, where it is installed, for tracebacks in colour; ours are lines of JSON. That
is 5 of the 120 MB that an API process may have.
"""

from __future__ import annotations

import sys
from typing import Any

modules: dict[str, Any] = sys.modules
modules.setdefault("rich", None)  # an import finds None, and fails as if nothing was installed
