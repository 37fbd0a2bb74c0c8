"""Users log in and out, and see and end their logins and tokens."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from normlab.records.access import TokenRequest
from service.store import token_changes
from service.store.audit import Actor
from service.store.database import Database
from tests.browser.conftest import TOKEN

pytestmark = pytest.mark.browser


def log_in(page: Page, token: str) -> None:
    page.goto("/login?next=/account")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_logging_out_ends_the_login_on_the_server_too(stranger: Page, url: str) -> None:
    log_in(stranger, TOKEN)
    expect(stranger.get_by_text("(this one)")).to_be_visible()
    (cookie,) = stranger.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (
        "normlab_session", True, "Strict"
    )  # fmt: skip
    assert TOKEN not in cookie["value"]
    copied = {cookie["name"]: cookie["value"]}
    assert httpx.get(f"{url}/v1/jobs", cookies=copied, timeout=60).status_code == 200
    stranger.get_by_role("button", name="Log out").click()
    expect(stranger.get_by_label("Token")).to_be_visible()
    assert stranger.context.cookies() == []
    assert httpx.get(f"{url}/v1/jobs", cookies=copied, timeout=60).status_code == 401


def test_a_user_can_end_another_login_and_revoke_a_token(
    stranger: Page, url: str, database: Database
) -> None:
    def issue(note: str) -> str:
        asked = TokenRequest(owner="ada", scopes=["submit"], note=note)
        return token_changes.issue(database, asked, Actor("root")).secret

    mine, spare = issue("mine"), issue("spare")
    with httpx.Client(base_url=url, timeout=60) as elsewhere:
        elsewhere.post("/login", data={"token": spare}, headers={"User-Agent": "elsewhere"})
        log_in(stranger, mine)
        row = stranger.get_by_role("row").filter(has_text="elsewhere")
        row.get_by_role("button").click()
        expect(stranger.get_by_text("elsewhere")).to_have_count(0)
        assert elsewhere.get("/v1/jobs").status_code == 401
    stranger.get_by_role("row").filter(has_text="spare").get_by_role("button").click()
    expect(stranger.get_by_role("row").filter(has_text="spare")).to_have_count(0)
    assert httpx.post(f"{url}/login", data={"token": spare}, timeout=60).status_code == 401


def test_only_admins_can_see_the_audit_page(page: Page, stranger: Page, database: Database) -> None:
    asked = TokenRequest(owner="ada", scopes=["submit"])
    ada = token_changes.issue(database, asked, Actor("root")).secret
    page.goto("/jobs")
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("cell", name="token.create")).to_be_visible()
    page.get_by_label("Action").select_option("session.login")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("cell", name="token.create")).to_have_count(0)
    expect(page.get_by_role("cell", name="session.login")).to_be_visible()
    log_in(stranger, ada)
    expect(stranger.get_by_role("heading", name="ada")).to_be_visible()
    expect(stranger.get_by_role("link", name="Audit")).to_have_count(0)
