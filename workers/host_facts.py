"""The facts that a worker reports: its device, and the free resources of its host."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil
import structlog

from normlab.host.limits import free_disk_bytes, usable_cores, usable_memory_bytes
from normlab.specs.devices import DEVICES
from workers.warm_launcher import HostUnavailable, WarmLauncher

_PROBE_TIMEOUT_S = 120
_log = structlog.get_logger()


@dataclass(frozen=True)
class DeviceFound:
    """A description of the worker's device."""

    available: bool
    reason: str
    description: str
    memory_bytes: int | None
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] | None = None
    """Versions by name, with that of Python; None: not known."""


def unprobed(device: str) -> DeviceFound:
    """Return the facts that are known before the probe has answered."""
    return DeviceFound(
        available=True,
        reason="not probed yet",
        description=f"{device} on {platform.node()}",
        memory_bytes=usable_memory_bytes() if DEVICES[device].shares_host_memory else None,
        versions={"python": platform.python_version()},
    )


def probe(
    device: str, python: str, environment: Mapping[str, str], warm: WarmLauncher | None = None
) -> DeviceFound:
    """
    Ask the interpreter of the device's jobs for a description of the device.

    Args:
        warm: has such an interpreter with torch imported; if None or not available, start another.
    """
    try:
        answer = _from_warm(device, warm) or _from_fresh(device, python, environment)
        found: dict[str, Any] = json.loads(answer.splitlines()[-1])
        known = {f.name for f in fields(DeviceFound)}
        return DeviceFound(**{k: v for k, v in found.items() if k in known})
    except subprocess.CalledProcessError as e:
        said = e.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        reason = f"{python} -m workers.probe {device} failed: {said[-1]}"
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, TypeError) as e:
        reason = f"{python} -m workers.probe {device} failed: {e}"
    return DeviceFound(False, reason, f"{device} on {platform.node()}", None)


def _from_warm(device: str, warm: WarmLauncher | None) -> bytes | None:
    if warm is None:
        return None
    try:
        return warm.output_of("workers.probe", [device], _PROBE_TIMEOUT_S)
    except (HostUnavailable, OSError) as e:
        _log.info("probe_starts_without_the_warm_host", reason=str(e))
        return None


def _from_fresh(device: str, python: str, environment: Mapping[str, str]) -> bytes:
    done = subprocess.run(
        [python, "-m", "workers.probe", device],
        env=dict(environment),
        capture_output=True,
        timeout=_PROBE_TIMEOUT_S,
        check=True,
    )
    return done.stdout


def host_facts(data_dir: Path) -> dict[str, Any]:
    """Measure the resources of the host that are free for jobs."""
    return {
        "memory_available_bytes": psutil.virtual_memory().available,
        "disk_free_bytes": free_disk_bytes(data_dir),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2),
        "pid": os.getpid(),
    }
