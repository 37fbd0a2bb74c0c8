"""The pages of jobs, as the server makes them: studies by name, and what was asked for."""

from __future__ import annotations

import html
import re

import httpx

from normlab.specs.jobs import JobSpec
from normlab.specs.written import parse
from service.store.database import Database
from tests.api.conftest import log_in
from tests.service.work import submit

STUDY = {
    "name": "small <b>batches</b>",
    "base": {"dataset": {"name": "digits"}},
    "axes": {"normalizer": ["batch", "group"]},
}


def test_lists_and_pages_of_jobs_show_a_study_by_its_name_and_link_to_it(
    client: httpx.Client, database: Database
) -> None:
    log_in(client)
    alone = submit(database, name="alone").id
    study = client.post("/v1/studies", json=STUDY).raise_for_status().json()["id"]
    named = f'<a href="/studies/{study}" title="{study}">small &lt;b&gt;batches&lt;/b&gt;</a>'
    assert client.get("/jobs").text.count(f"of {named}") == 2
    assert client.get("/jobs/rows").text.count(f"of {named}") == 2
    (job, _) = client.get("/v1/jobs", params={"study": study}).json()["jobs"]
    assert f"<dt>Study</dt><dd>{named}</dd>" in client.get(f"/jobs/{job['id']}").text
    assert "<dt>Study</dt>" not in client.get(f"/jobs/{alone}").text


def test_the_page_of_a_job_shows_its_specification_as_it_would_be_submitted_again(
    client: httpx.Client, database: Database
) -> None:
    log_in(client)
    job = submit(database, name="a <b>name</b>", batch_size=4, optimizer={"lr": 0.03}).id
    page = client.get(f"/jobs/{job}").text
    found = re.search(r'<pre class="json" id="spec".*?>(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    written = html.unescape(found[1])
    assert "lr: 0.03" in written
    assert "null" not in written
    asked = client.get(f"/v1/jobs/{job}").json()["spec"]
    assert JobSpec.model_validate(parse(written, "the page")).model_dump(mode="json") == asked
    assert "All fields with their defaults, as JSON" in page


def test_the_page_of_a_study_shows_its_specification_as_it_would_be_submitted_again(
    client: httpx.Client,
) -> None:
    log_in(client)
    study = client.post("/v1/studies", json=STUDY).raise_for_status().json()["id"]
    assert "axes:\n- normalizer:\n  - batch\n  - group\n" in client.get(f"/studies/{study}").text
