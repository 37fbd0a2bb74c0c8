"""The files of pages: kept by browsers as long as they do not change."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from api import static_files
from tests.api.conftest import log_in


def test_a_browser_keeps_the_files_that_pages_name(client: httpx.Client) -> None:
    log_in(client)
    named = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/compare").text)
    assert {name.rpartition("/")[2] for name in named} >= {"compare.js", "charts.js", "app.css"}
    kept = {client.get(name).headers["cache-control"] for name in named}
    assert kept == {"max-age=31536000, immutable"}


def test_a_file_that_an_upgrade_has_replaced_is_not_kept_at_the_address_of_the_one_before(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = f"/static/{static_files.version()}"
    (tmp_path / "app.js").write_text("// of the release after")
    monkeypatch.setattr(static_files, "_FOLDER", tmp_path)
    for name in ("app.js", "charts.js"):
        assert client.get(f"{before}/{name}").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("place", ["", "0123456789ab/"])
def test_a_file_without_its_version_or_of_another_one_is_checked_each_time(
    client: httpx.Client, place: str
) -> None:
    found = client.get(f"/static/{place}app.js")
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-cache")


def test_a_file_that_does_not_exist_is_kept_by_nobody(client: httpx.Client) -> None:
    found = client.get(f"/static/{static_files.version()}/nothing.js")
    assert found.status_code == 404
    assert "immutable" not in found.headers.get("cache-control", "")
