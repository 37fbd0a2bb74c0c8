"""A study on two hosts, in network namespaces: one host is lost, and every cell still finishes."""

from __future__ import annotations

import subprocess
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from normlab.specs.studies import StudySpec
from service.results import metrics
from service.studies import details, studies

from .conftest import LONG
from .floor import Floor
from .test_hosts import _each, _family, _hire, _kill_host, hosts
from .two_hosts import Host

__all__ = ["hosts"]  # the fixture

STEPS = 60
GRID: dict[str, Any] = {
    "name": "on two hosts",
    "base": {**LONG, "max_steps": STEPS},
    "axes": {"normalizer": ["batch", "layer"]},
    "seeds": (0, 1),
    "pack": "off",
}
_RUNNING = text("""
    select id from job where state = 'running' and strpos(worker, :process) > 0 limit 1
""")


def _standing_still(floor: Floor, worker: subprocess.Popen[bytes]) -> str:
    """Wait until *worker* has a job, and stop its host; return the job."""
    found: list[str] = []

    def stopped() -> bool:
        family = _family(worker)
        _each(family, psutil.Process.suspend)
        with floor.database.autocommit() as connection:
            job = connection.execute(_RUNNING, {"process": f"-{worker.pid}-"}).scalar()
        if job is None:  # not yet, or no longer: let it continue
            _each(family, psutil.Process.resume)
            return False
        found.append(str(job))
        return True

    floor.until(stopped)
    return found[0]


@pytest.mark.slow
@pytest.mark.usefixtures("reaper")
def test_a_study_that_loses_a_host_is_finished_by_the_other_one(
    floor: Floor, hosts: tuple[Host, Host]
) -> None:
    lost, _ = (_hire(floor, host) for host in hosts)
    study = studies.create(
        floor.database,
        StudySpec.model_validate(GRID),
        owner="me",
        place=lambda _: ("cpu", "it is asked for"),
        check=lambda _: [],
    )[0].id
    torn = _standing_still(floor, lost)
    _kill_host(lost)
    floor.until(lambda: details.get(floor.database, study).counts == {"succeeded": 4})
    assert [a.outcome for a in floor.job(torn).attempts] == ["lost", "succeeded"]
    for cell in details.get(floor.database, study).grid:
        assert cell.job is not None
        steps = metrics.read(floor.database, cell.job, "train/loss").steps
        assert steps == list(range(1, STEPS + 1))  # each update once, on whichever host
