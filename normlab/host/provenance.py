"""The software and the host of a process: interpreter, installed packages and machine."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import lru_cache
from typing import Any, Dict


@lru_cache(maxsize=None)
def provenance() -> Dict[str, Any]:
    """
    Return the interpreter, all installed packages with their versions, and the host.

    This is read once per process; forks of a warm process share its result.
    """
    return {
        "python": platform.python_version(),
        "packages": _packages(),
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "machine": platform.machine(),
            "processor": _processor(),
        },
    }


def _packages() -> Dict[str, str]:
    found: Dict[str, str] = {}
    for package in importlib.metadata.distributions():
        name = package.metadata["Name"]
        if name:  # an incompletely removed package has none
            found.setdefault(name.lower().replace("_", "-"), package.version)
    return dict(sorted(found.items()))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            named = (line.partition(":")[2].strip() for line in lines if "model name" in line)
            return next(named, platform.processor())
    except OSError:
        return platform.processor()
