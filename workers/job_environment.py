"""The environment of a job process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from normlab.specs.devices import DEVICES

# A thread that has finished its part of an operator waits for the others. By default it spins for
# milliseconds. On busy cores, it then takes a core from the thread that it waits for.
_IDLE_THREADS = {"OMP_WAIT_POLICY": "passive"}


def job_environment(environment: Mapping[str, str], device: str, data_dir: Path) -> dict[str, str]:
    """Return the environment of a job process."""
    ours = {**_IDLE_THREADS, **without_our_settings(environment)}
    for variable, folder in DEVICES[device].caches.items():
        ours.setdefault(variable, str(data_dir.absolute() / folder))
    return ours


def without_our_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Remove secrets that a job must not see: the database's password, the tokens of services."""
    return {k: v for k, v in environment.items() if not k.startswith(("NORMLAB_", "OTEL_"))}
