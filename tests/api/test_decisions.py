"""Studies that decide, over HTTP: preview, refusals with field and rule, reading, the page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.store.database import Database
from service.studies.decider import Decider
from tests.api.test_studies import work

GRID: dict[str, Any] = {
    "name": "which is better",
    "base": {"dataset": {"name": "digits"}, "epochs": 2},
    "axes": {"normalizer": ["batch", "layer"], "batch_size": [32, 2]},
    "seeds": 3,
    "decide": {"by": 0.01, "at_most": 24, "rarest": 0.5, "compare": {"axis": "batch_size"}},
}


def decider(database: Database) -> Decider:
    return Decider(database, lambda: lambda _: ("cpu", "the only device"), lambda _: [])


def decided(client: httpx.Client, database: Database) -> str:
    """Return a decided study; the decider of the application takes turns with ours."""
    study: str = client.post("/v1/studies", json=GRID).raise_for_status().json()["id"]
    for _ in range(1000):
        work(database)
        decider(database).round()
        found = client.get(f"/v1/studies/{study}").raise_for_status()
        if found.json()["state"] != "active":
            return study
    pytest.fail("it is never decided")


def test_a_study_shows_its_verdicts_and_all_its_looks(
    client: httpx.Client, database: Database
) -> None:
    found = client.get(f"/v1/studies/{decided(client, database)}/decision").json()
    assert (found["state"], found["counts"]) == ("complete", {"contradicts": 2})
    row = found["rows"][0]
    assert (row["value"], row["against"], row["labels"]) == ("2", "32", {"normalizer": "batch"})
    assert row["words"].startswith("2 is worse than 32: -0.0469 in [")
    assert {look["verdict"] for look in row["looks"][:-1]} == {"undecided"}
    assert row["looks"][-1]["high"] < found["by"]


def test_the_page_shows_verdicts_and_the_interval_as_it_narrows(
    client: httpx.Client, database: Database
) -> None:
    page = client.get(f"/studies/{decided(client, database)}").text
    assert "2 contradicts" in page
    assert "2 is worse than 32" in page
    assert page.count("<circle") >= 4


def test_a_page_without_a_decision_has_no_such_section(client: httpx.Client) -> None:
    study = client.post("/v1/studies", json={**GRID, "decide": None}).json()["id"]
    assert 'id="decision"' not in client.get(f"/studies/{study}").text
    assert client.get(f"/v1/studies/{study}/decision").status_code == 404


def test_a_preview_gives_the_lowest_and_the_highest_cost_of_deciding(client: httpx.Client) -> None:
    compare = {"axis": "normalizer"}
    grid = {**GRID, "seeds": 1, "decide": {"by": 0.01, "at_most": 20, "compare": compare}}
    found = client.post("/v1/studies:preview", json=grid).json()
    cost = found["decision"]
    assert (found["cells"], cost["comparisons"]) == (4, 2)
    assert (cost["least_cells"], cost["least_epochs"]) == (64, 128)
    assert (cost["most_cells"], cost["most_epochs"]) == (80, 160)
    assert cost["most_s"] > 1.2 * cost["least_s"] > 0
    assert 0.005 < cost["largest_sd"] < 0.015


@pytest.mark.parametrize(
    ("decide", "field", "rule"),
    [({"by": 0}, "decide.by", "greater than 0"),
     ({"by": -1}, "decide.by", "greater than 0"),
     ({}, "decide.by", "required"),
     ({"by": 0.01, "power": 1}, "decide.power", "0.95"),
     ({"by": 0.01, "power": 0}, "decide.power", "0.5"),
     ({"by": 0.01, "at_most": 2}, "decide.at_most", "greater than or equal to 6"),
     ({"by": 0.01, "at_most": 15}, "decide", "fewer than the 16 seeds of the first look"),
     ({"by": 0.01, "rarest": 0.6}, "decide.rarest", "less than or equal to 0.5"),
     ({"by": 0.01, "metrik": "x"}, "decide.metrik", "did you mean 'metric'"),
     ({"by": 0.01, "reduction": "first"}, "decide.reduction", "mean_last:K"),
     ({"by": 0.01, "compare": {"axis": "optimizer.lr"}}, "decide", "one of normalizer, batch_size"),
     ({"by": 0.01, "compare": {"axis": "normalizer", "against": "gruop"}},
      "decide.compare.against", "one of batch, layer"),
     ({"by": 0.01, "compare": {"axis": "normalizer", "values": ["batch"]}},
      "decide.compare.values", "itself")],
)  # fmt: skip
def test_a_wrong_question_is_refused_by_field_and_rule(
    client: httpx.Client, decide: dict[str, Any], field: str, rule: str
) -> None:
    for path in ("/v1/studies", "/v1/studies:preview"):
        answer = client.post(path, json={**GRID, "decide": decide})
        assert answer.status_code == 422
        (problem,) = answer.json()["errors"]
        assert problem["field"] == field
        assert rule in problem["rule"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"axes": {}}, "needs an axis"),
     ({"axes": {"batch_size": [8]}}, "two or more"),
     ({"seeds": 30}, "fewer than the 30 seeds"),
     ({"decide": {"by": 0.01, "at_most": 1000}, "axes": {"batch_size": list(range(1, 30))}},
      "at most 20000"),
     ({"axes": {}, "seeds": 1, "search": {"space": {"optimizer.lr": {"low": 0.1, "high": 1}}}},
      "a search")],
)  # fmt: skip
def test_a_grid_that_cannot_be_decided_is_refused(
    client: httpx.Client, changes: dict[str, Any], rule: str
) -> None:
    grid = {**GRID, "decide": {"by": 0.01, "at_most": 24}, **changes}
    answer = client.post("/v1/studies", json=grid)
    assert answer.status_code == 422
    assert [p["field"] for p in answer.json()["errors"]] == ["decide"]
    assert rule in answer.json()["errors"][0]["rule"]
