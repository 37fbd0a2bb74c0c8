"""What became of the norm layers of another library's network is shown with the job."""

from __future__ import annotations

import httpx
import pytest

from normlab.cli.application import run
from normlab.events import Started
from service.results import reports
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, log_in
from tests.service.work import claim, submit

MADE = {
    "conversion": "converted to batch: 2, kept: 1, skipped: 0\n  kept FrozenBatchNorm2d: constants",
    "weights": "weights of mine.safetensors (SHA-256 12ab)",
    "sharding": "full: a replica needs about 3.20 GiB, and has 2.00 GiB",
}


@pytest.fixture
def job(database: Database) -> str:
    submitted = submit(database, model={"name": "timm/resnet50"})
    assert reports.keep_all(database, claim(database), [Started(step=0, environment=dict(MADE))])
    return submitted.id


def test_its_page_shows_what_was_exchanged_and_what_it_started_with(
    client: httpx.Client, job: str
) -> None:
    log_in(client)
    page = client.get(f"/jobs/{job}").text
    assert "timm/resnet50" in page
    for said in MADE.values():
        assert said in page


def test_its_command_shows_the_same(url: str, job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--url", url, "--token", OPERATORS_TOKEN, "show", job]) == 0
    shown = capsys.readouterr().out
    assert "norm layers" in shown
    assert "kept FrozenBatchNorm2d: constants" in shown
    assert MADE["weights"] in shown
    assert MADE["sharding"] in shown
