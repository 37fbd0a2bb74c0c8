"""Five people in two projects on one stack, whose default project is closed; all that is red's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from normlab.events import ArtifactWritten, Finished
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.sources import PluginFiles
from service.jobs import leases
from service.plugins import store
from service.results import reports
from service.store.database import Database
from tests.api.conftest import a_job, token_header
from tests.api.test_access import VIEW

RED = {"ann": "admin", "rhea": "read", "rob": "submit"}  # rob last, who deletes his view
BLUE = {"bo": "admin", "bea": "submit"}
SHA256 = "5" * 64
STUDY = {
    "name": "crimson study",
    "base": {"dataset": {"name": "digits"}, "batch_size": 8},
    "axes": {"normalizer": ["batch", "group"]},
}


@dataclass(frozen=True)
class Team:
    """
    The headers of everybody, and what rob has added to the project red.

    Args:
        ended: a job that has succeeded, and has weights.
        digest: of a plugin.
    """

    headers: dict[str, dict[str, str]]
    job: str
    ended: str
    study: str
    digest: str
    view: str

    @property
    def places(self) -> dict[str, str]:
        """The values for the parameters in the paths of routes."""
        return {"job": self.job, "study": self.study, "project": "red", "digest": self.digest,
                "view": self.view, "name": "x", "verb": "pause", "session": "x",
                "kind": "batch"}  # fmt: skip

    @property
    def secrets(self) -> list[str]:
        """Texts that nobody outside of red may read anywhere."""
        things = [self.job, self.ended, self.study, self.digest, self.view, SHA256]
        return [*things, "crimson", '"rob"', ">rob<"]


def a_team(database: Database, admin: httpx.Client) -> Team:
    """Make the projects, their members, and rob's things."""
    admin.delete("/v1/projects/default/members", params={"owner": "*"}).raise_for_status()
    for project, purpose, members in (("red", "crimson", RED), ("blue", "navy", BLUE)):
        asked = {"name": project, "note": purpose}
        admin.post("/v1/projects", json=asked).raise_for_status()
        for owner, role in members.items():
            member = {"owner": owner, "role": role}
            admin.put(f"/v1/projects/{project}/members", json=member).raise_for_status()
    headers = {owner: token_header(database, owner, "submit") for owner in (*RED, *BLUE)}
    ended = add(admin, headers["rob"], "/v1/jobs", a_job(name="crimson job", seed=1))
    _finish(database)
    return Team(
        headers=headers,
        job=add(admin, headers["rob"], "/v1/jobs", a_job(name="crimson job")),
        ended=ended,
        study=add(admin, headers["rob"], "/v1/studies", STUDY),
        digest=uploaded(database),
        view=add(admin, headers["rob"], "/v1/views", {**VIEW, "name": "crimson view"}),
    )


def add(client: httpx.Client, headers: dict[str, str], path: str, body: Any) -> str:
    """Add something, and return its id."""
    return str(client.post(path, json=body, headers=headers).raise_for_status().json()["id"])


def _finish(database: Database) -> None:
    mine = leases.claim(database, "cpu", "w", 30)
    assert mine is not None
    weights = {"name": "weights.safetensors", "path": "/gone/crimson", "sha256": SHA256, "bytes": 1}
    assert reports.keep_all(database, mine, [ArtifactWritten.model_validate(weights)])
    assert leases.finish(database, mine, Finished(step=1, summary={}))


def uploaded(database: Database, project: str = "red") -> str:
    """Keep a plugin of rob's, shown in *project*, and return its digest."""
    source = PluginFiles("crimson.py", {"crimson.py": b"# crimson"})
    described = PluginDescription(digest=source.digest, name=source.name, entries=[])
    with database.begin() as connection:
        store.keep(connection, source, described, owner="rob", origin={})
        store.show(connection, source.digest, project, "rob", {})
    return source.digest
