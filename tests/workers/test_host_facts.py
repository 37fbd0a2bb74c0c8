"""What a worker finds out about its device, with a warm host and without one."""

from __future__ import annotations

import sys

from workers.host_facts import probe
from workers.process import FreshLauncher
from workers.warm_launcher import WarmLauncher


def test_the_probe_of_a_device_is_a_fork_of_the_warm_host_and_finds_what_a_new_process_finds(
    job_environment: dict[str, str], warm: WarmLauncher
) -> None:
    forked = probe("cpu", "no-such-python", {}, warm)
    assert forked.available
    assert forked == probe("cpu", sys.executable, job_environment)
    assert "torch" in forked.versions
    assert forked.packages is not None


def test_the_probe_starts_a_process_if_the_warm_host_is_away(
    job_environment: dict[str, str], fresh: FreshLauncher
) -> None:
    away = WarmLauncher("false", job_environment, fresh)
    assert probe("cpu", sys.executable, job_environment, away).available
    away.close()


def test_a_device_that_cannot_be_probed_is_not_available_and_says_why() -> None:
    found = probe("cpu", "no-such-python", {})
    assert not found.available
    assert "no-such-python -m workers.probe cpu failed" in found.reason
