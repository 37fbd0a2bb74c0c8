"""The page of projects, and where the other pages name and choose them."""

from __future__ import annotations

import httpx
import pytest

from service.store.database import Database
from tests.api.conftest import a_job, log_in
from tests.tokens import create_token

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def browser(database: Database, nobody: httpx.Client) -> httpx.Client:
    """The browser of ada, an admin."""
    log_in(nobody, create_token(database, "ada", ["admin"]))
    nobody.headers.update(BROWSER)
    return nobody


def test_a_project_and_its_members_are_made_with_forms(browser: httpx.Client) -> None:
    made = browser.post("/projects", data={"name": "vision", "note": "the <b>vision</b> group"})
    assert (made.status_code, made.headers["location"]) == (303, "/projects")
    put = browser.post("/projects/vision/members", data={"owner": "bob", "role": "read"})
    assert put.status_code == 303
    page = browser.get("/projects").text
    assert "the &lt;b&gt;vision&lt;/b&gt; group" in page
    assert 'aria-label="Remove bob from vision"' in page
    browser.post("/projects/vision/members/remove", data={"owner": "bob"})
    assert "Remove bob from vision" not in browser.get("/projects").text
    wrong = browser.post("/projects", data={"name": "No Such Name"})
    assert wrong.status_code == 422
    assert "name: " in wrong.text


def test_a_stack_with_one_project_shows_nothing_of_it_in_lists_and_forms(
    browser: httpx.Client,
) -> None:
    browser.post("/v1/jobs", json=a_job()).raise_for_status()
    for path in ("/jobs", "/jobs/new", "/studies", "/studies/new"):
        page = browser.get(path).text
        for asked in ('id="project"', 'id="filter-project"', 'href="/projects"'):
            assert asked not in page, path


def test_with_several_projects_lists_are_filtered_and_forms_ask(browser: httpx.Client) -> None:
    browser.post("/projects", data={"name": "vision"})
    where = {"project": "vision"}
    job = browser.post("/v1/jobs", json=a_job(name="red"), params=where).json()["id"]
    browser.post("/v1/jobs", json=a_job(name="blue")).raise_for_status()
    listed = browser.get("/jobs", params=where).text
    assert "red" in listed
    assert "blue" not in listed
    assert "in project vision" in browser.get(f"/jobs/{job}").text
    form = browser.get("/jobs/new", params={"from": job}).text
    assert "<option selected>vision</option>" in form
    assert '<select id="project"' in browser.get("/studies/new").text
