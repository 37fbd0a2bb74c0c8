"""The cost of the largest study for its owner: times of requests, and of concurrent submissions."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.command import parser_of, show
from service.servers.launcher import Stack, launch
from service.settings import Settings

NAME = "large_study"
LONGEST_S = 2.0
"""The longest time that an answer may take."""
_PATIENCE_S = 300.0
# No worker is live, so every cell stays queued.
_JOB: dict[str, Any] = {"normalizer": "batch", "dataset": {"name": "digits"}}
GRID: dict[str, Any] = {
    "name": "the largest grid",
    "base": {"dataset": {"name": "digits"}, "epochs": 2},
    "axes": {
        "normalizer": ["batch", "layer", "group", "instance"],
        "batch_size": list(range(1, 51)),
        "optimizer.lr": [round(0.001 * n, 3) for n in range(1, 101)],
    },
}


def main() -> int:
    """Measure; return 1 if an answer took too long."""
    parser_of(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder, _stack(folder) as client:
        rows = list(_measured(client))
    show(NAME, rows, f"20,000 cells; target: no answer over {LONGEST_S:g} s, and none refused")
    well = all(r["answer_s"] <= LONGEST_S and r["submit_most_s"] <= LONGEST_S for r in rows)
    return 0 if well and all(row["status"] < 400 for row in rows) else 1


@contextmanager
def _stack(folder: str) -> Iterator[httpx.Client]:
    # room for submissions beside the study
    settings = Settings(
        data_dir=Path(folder),
        port=0,
        database_url=None,
        broker_url=None,
        max_queued_per_owner=100_000,
    )
    with launch(settings, worker=False) as running, _client(running) as client:
        yield client


def _client(running: Stack) -> httpx.Client:
    headers = {"Authorization": f"Bearer {running.connection.token}"}
    return httpx.Client(base_url=running.url, headers=headers, timeout=_PATIENCE_S)


def _measured(client: httpx.Client) -> Iterator[dict[str, Any]]:
    yield _timed("preview", client, lambda: client.post("/v1/studies:preview", json=GRID))
    row, study = _created(client)
    yield row
    path = f"/v1/studies/{study}"
    yield _timed("get while cells are queued", client, lambda: client.get(path))
    yield _settled(client, path, "queued")
    yield _timed("get", client, lambda: client.get(path))
    yield _timed("list of studies", client, lambda: client.get("/v1/studies"))
    yield _timed("page", client, lambda: client.get(f"/studies/{study}"))
    yield _timed("results", client, lambda: client.get(f"{path}/results"))
    for verb in ("pause", "resume", "cancel"):
        yield _timed(verb, client, lambda verb=verb: client.post(f"{path}/{verb}"))
    yield _settled(client, path, "cancelled")
    yield _timed("complete", client, lambda: client.post(f"{path}/complete"))
    yield _settled(client, path, "queued")


def _created(client: httpx.Client) -> tuple[dict[str, Any], str]:
    made: list[str] = []

    def create() -> httpx.Response:
        answer = client.post("/v1/studies", json=GRID)
        made.append(answer.json()["id"])
        return answer

    return _timed("create", client, create), made[0]


def _timed(what: str, client: httpx.Client, work: Callable[[], httpx.Response]) -> dict[str, Any]:
    """Time *work*, and the longest submission of the same owner in this time."""
    with _submitting(client) as times:
        began = time.perf_counter()
        answer = work()
        took = time.perf_counter() - began
    return {
        "what": what,
        "answer_s": took,
        "status": answer.status_code,
        "submit_most_s": max(times),
        "submits": len(times),
    }


def _settled(client: httpx.Client, path: str, state: str) -> dict[str, Any]:
    """Wait until every cell has the state *state*."""

    def wait() -> httpx.Response:
        until = time.monotonic() + _PATIENCE_S
        while True:
            answer = client.get("/v1/studies", params={"limit": 1})
            if answer.status_code >= 400 or time.monotonic() > until:
                return answer
            (study,) = answer.json()["studies"]
            if study["counts"] == {state: study["cells"]}:
                return answer
            time.sleep(0.2)

    # This is not one answer, so only refusals and the concurrent submissions count.
    row = _timed(f"until all are {state}", client, wait)
    return {**row, "answer_s": 0.0, "settled_s": row["answer_s"]}


@contextmanager
def _submitting(client: httpx.Client) -> Iterator[list[float]]:
    times: list[float] = []
    over = threading.Event()
    own = httpx.Client(base_url=client.base_url, headers=client.headers, timeout=_PATIENCE_S)

    def submit() -> None:
        while True:
            began = time.perf_counter()
            own.post("/v1/jobs", json=_JOB).raise_for_status()
            times.append(time.perf_counter() - began)
            if over.wait(0.05):
                return

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()
        own.close()


if __name__ == "__main__":
    raise SystemExit(main())
