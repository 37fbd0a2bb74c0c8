"""The page and the route of disk use: what is in sight, by owner, with the trash."""

from __future__ import annotations

import httpx

from normlab.events import ArtifactWritten, Finished
from service.jobs import leases
from service.results import reports
from service.store.database import Database
from tests.api.conftest import a_job, log_in, token_header
from tests.service.work import claim
from tests.tokens import create_token


def a_job_of(client: httpx.Client, database: Database, owner: str, size: int) -> leases.Lease:
    """Submit a job of *owner*, and let it write a file; return its lease."""
    headers = token_header(database, owner, "submit")
    client.post("/v1/jobs", json=a_job(), headers=headers).raise_for_status()
    lease = claim(database)
    file = {"name": "weights.pt", "path": f"/x/{lease.job}/w", "sha256": "0" * 64, "bytes": size}
    assert reports.keep_all(database, lease, [ArtifactWritten.model_validate(file)])
    return lease


def test_disk_use_is_shown_by_owner_with_what_is_in_the_trash(
    client: httpx.Client, database: Database, nobody: httpx.Client
) -> None:
    of_ada = a_job_of(client, database, "ada", 3 << 20)
    assert leases.finish(database, of_ada, Finished(step=1, summary={}))
    client.delete(f"/v1/jobs/{of_ada.job}").raise_for_status()
    a_job_of(client, database, "bob", 5 << 20)  # which runs still
    owners = client.get("/v1/usage").json()["owners"]
    assert [(one["owner"], one["bytes"], one["trashed_bytes"]) for one in owners] == [
        ("bob", 5 << 20, 0), ("ada", 3 << 20, 3 << 20),
    ]  # fmt: skip
    log_in(nobody, create_token(database, "ada", ["read"]))
    page = nobody.get("/usage").text
    assert "8.0 MiB in all" in page
    assert page.index("owner=bob") < page.index("owner=ada")
    assert "1 job and 0 studies, 3.0 MiB" in page
    assert 'href="/usage"' in nobody.get("/account").text


def test_what_is_not_in_sight_is_not_in_the_sums(
    client: httpx.Client, database: Database, nobody: httpx.Client
) -> None:
    client.delete("/v1/projects/default/members", params={"owner": "*"}).raise_for_status()
    for owner in ("ada", "root"):
        client.put("/v1/projects/default/members", json={"owner": owner}).raise_for_status()
    a_job_of(client, database, "ada", 1 << 20)
    log_in(nobody, create_token(database, "eve", ["read"]))
    page = nobody.get("/usage").text
    assert "No job stores anything yet" in page
    assert "ada" not in page
