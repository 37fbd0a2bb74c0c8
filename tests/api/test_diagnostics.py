"""The diagnostics that a job can ask for, in the catalogue."""

from __future__ import annotations

import httpx


def test_diagnostics_say_where_they_report_and_what_they_cost(client: httpx.Client) -> None:
    found = {one["name"]: one for one in client.get("/v1/diagnostics").json()}
    assert found["power"]["metrics"].startswith("power/SITE")
    assert all(one["cost"] and one["source"] for one in found.values())
