"""Limits on running jobs and devices hold for all workers, while jobs of others start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from normlab.errors import InvalidSpec
from normlab.events import Finished
from normlab.records.limits import LimitRequest
from service.jobs import allowances, leases, reading, submissions
from service.store import projects
from service.store.audit import Actor
from service.store.database import Database
from tests.service.work import claim, spec, submit

ROOT = Actor("root")


def allow(database: Database, subject: str, name: str, **limits: int | None) -> None:
    asked = LimitRequest.read({"subject": subject, "name": name, **limits})
    allowances.put(database, asked, ROOT)


def claims(database: Database, n: int) -> list[leases.Lease]:
    """Claim by *n* workers at once."""
    with ThreadPoolExecutor(n) as pool:
        found = pool.map(lambda i: leases.claim(database, "cpu", f"w{i}", 30), range(n))
        return [lease for lease in found if lease is not None]


def test_of_many_workers_no_more_than_allowed_get_a_job_of_an_owner(database: Database) -> None:
    allow(database, "owner", "ada", running=2)
    for _ in range(6):
        submit(database, "ada")
    bobs = [submit(database, "bob").id for _ in range(2)]
    found = claims(database, 6)
    assert sorted(lease.owner for lease in found) == ["ada", "ada", "bob", "bob"]
    assert {str(lease.job) for lease in found if lease.owner == "bob"} == set(bobs)
    ended = next(lease for lease in found if lease.owner == "ada")
    assert leases.finish(database, ended, Finished(step=1, summary={}))
    assert claim(database).owner == "ada"
    assert leases.claim(database, "cpu", "w", 30) is None


def test_a_full_project_does_not_hold_back_its_owners_other_jobs(database: Database) -> None:
    projects.create(database, projects.ProjectRequest(name="vision"), ROOT)
    allow(database, "project", "vision", running=1)
    for project, priority in (("vision", 5), ("vision", 5), ("default", 0)):
        submissions.submit(
            database, spec(priority=priority), owner="ada", project=project, device="cpu",
            device_reason="",
        )  # fmt: skip
    assert [claim(database).spec.priority for _ in range(2)] == [5, 0]
    assert leases.claim(database, "cpu", "w", 30) is None


def test_devices_are_counted_by_the_replicas_of_jobs(database: Database) -> None:
    allow(database, "owner", "*", devices=3)
    for replicas in (2, 2):
        submit(database, "ada", replicas=replicas, batch_size=8)
    assert claim(database).spec.replicas == 2
    assert leases.claim(database, "cpu", "w", 30) is None


def test_a_job_that_waits_for_a_limit_says_so_with_the_numbers(database: Database) -> None:
    allow(database, "owner", "ada", running=1)
    submit(database, "ada")
    waiting = submit(database, "ada").id
    claim(database)
    assert reading.get(database, waiting).waiting_for == (
        "a free place: at most 1 jobs of owner 'ada' run at once, and 1 do now "
        "(admins change it with normlab limits set)"
    )
    found = {r.what: (r.most, r.used) for r in allowances.read(database, "owner", "ada", 9)}
    assert found["queued"] == (9, 1)
    assert (found["running"], found["devices"]) == ((1, 1), (None, 1))


def test_a_limit_is_taken_away_again_and_must_fit_its_subject(database: Database) -> None:
    allow(database, "project", "default", running=0)
    submit(database)
    assert leases.claim(database, "cpu", "w", 30) is None
    allow(database, "project", "default", running=None)
    assert claim(database)
    with pytest.raises(InvalidSpec, match="requests_per_minute: is not a limit of a project"):
        allow(database, "project", "default", requests_per_minute=1)
    with pytest.raises(InvalidSpec, match="name at least one of queued, running, devices"):
        allow(database, "project", "default")
