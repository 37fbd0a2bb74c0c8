"""Projects in the store: what existed before them, and what belongs to one."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from normlab.errors import Conflict, NotFound
from normlab.records.projects import MemberRequest, ProjectRequest
from service.jobs import submissions
from service.jobs.job_filters import JobFilters
from service.jobs.listing import list_jobs
from service.plugins import store
from service.store import projects, sight
from service.store.audit import Actor
from service.store.database import _MIGRATIONS, Database
from service.store.sight import NOTHING, Sight, seeing
from tests.service.work import spec

PROJECTS = "0015"
OLD_JOB = text("""
    insert into job (id, owner, request_hash, spec, fingerprint, normalizer, proxy, model, dataset,
        batch_size, samples_per_update, seed, device, device_reason, priority, max_attempts, epochs)
    values (gen_random_uuid(), 'ada', 'h', '{}', 'f', 'batch', false, 'mlp', 'digits', 8, 8, 0,
        'cpu', '', 0, 3, 1)
""")
OLD_PLUGIN = text("""
    insert into plugin (digest, name, owner, source, description)
    values ('d', 'mine.py', 'ada', '', '{"digest": "d", "name": "mine.py"}')
""")
ADA = Actor("ada")


def moved_to(database: Database, revision: str, way: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.begin() as connection:
        config.attributes["connection"] = connection
        getattr(command, way)(config, revision)


def test_whatever_existed_belongs_to_the_default_project_which_everybody_shares(
    database: Database,
) -> None:
    moved_to(database, PROJECTS, "downgrade")
    moved_to(database, "-1", "downgrade")
    with database.begin() as connection:
        connection.execute(OLD_JOB)
        connection.execute(OLD_PLUGIN)
    moved_to(database, "head", "upgrade")
    assert projects.roles_of(database, "anybody") == {"default": "submit"}
    with seeing(Sight(frozenset({"default"}))):
        assert [plugin.owner for plugin in store.newest(database)] == ["ada"]
    with database.begin() as connection:
        assert connection.execute(text("select project from job")).scalars().all() == ["default"]


def test_of_two_roles_the_larger_one_counts(database: Database) -> None:
    projects.create(database, ProjectRequest(name="vision"), ADA)
    for owner, role in (("*", "submit"), ("bob", "read")):
        asked = MemberRequest.read({"owner": owner, "role": role})
        projects.put_member(database, "vision", asked, ADA)
    assert projects.roles_of(database, "ada")["vision"] == "admin"
    assert projects.roles_of(database, "bob")["vision"] == "submit"


def test_a_project_is_made_once_and_has_only_members_that_were_added(database: Database) -> None:
    projects.create(database, ProjectRequest(name="vision"), ADA)
    with pytest.raises(Conflict, match="choose another name"):
        projects.create(database, ProjectRequest(name="vision"), ADA)
    with pytest.raises(NotFound, match="'bob' is not a member of project 'vision'"):
        projects.remove_member(database, "vision", "bob", ADA)
    with pytest.raises(NotFound, match="there is no project 'x'"):
        projects.put_member(database, "x", MemberRequest(owner="bob"), ADA)


def test_remembered_queries_of_lists_are_those_of_the_same_sight(database: Database) -> None:
    submissions.submit(database, spec(), owner="ada", device="cpu", device_reason="")
    assert len(list_jobs(database).jobs) == 1
    with seeing(NOTHING):
        assert list_jobs(database).jobs == []
        assert list_jobs(database, JobFilters(owner="ada")).jobs == []
    assert sight.current().projects is None
