"""A stack starts although its own servers are slow."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import ServiceUnavailable
from service.servers import embedded
from service.servers.children import Child
from service.servers.embedded import Servers
from service.servers.launcher import launch
from service.settings import Settings
from service.store.database import CONNECT_S


@pytest.fixture
def settings() -> Iterator[Settings]:
    # not below pytest's own folder: the user that runs PostgreSQL for root has no access to it
    with tempfile.TemporaryDirectory(prefix="normlab-test-") as folder:
        yield Settings(data_dir=Path(folder), database_url=None, broker_url="memory://", port=0)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """PostgreSQL, which stops answering as soon as the servers have started."""
    started: list[Child] = []
    start = embedded.start

    def start_and_stop(settings: Settings, **options: Any) -> Servers:
        servers = start(settings, **options)
        started.append(servers.started[0])
        started[0].process.send_signal(signal.SIGSTOP)
        return servers

    monkeypatch.setattr(embedded, "start", start_and_stop)
    return started


@contextmanager
def _after(
    seconds: float, postgres: list[Child], what: signal.Signals
) -> Iterator[threading.Event]:
    """Send *what* to PostgreSQL after it was stopped for a while; the event is set then."""
    sent, over = threading.Event(), threading.Event()

    def wait_and_send() -> None:
        while not postgres and not over.wait(0.02):
            pass
        over.wait(seconds)
        for server in postgres:
            sent.set()
            server.process.send_signal(what)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def test_a_start_waits_for_its_own_database_longer_than_a_request_does(
    settings: Settings, postgres: list[Child]
) -> None:
    resuming = _after(CONNECT_S + 1.0, postgres, signal.SIGCONT)
    with resuming as resumed, launch(settings, worker=False) as running:
        assert resumed.is_set()
        assert running.url.startswith("http://127.0.0.1:")


def test_a_start_whose_database_ends_says_so_and_does_not_wait_for_it(
    settings: Settings, postgres: list[Child]
) -> None:
    # it would otherwise say that the time is over
    said = r"does not answer \((?!connection timeout)"
    killing, failing = _after(0.5, postgres, signal.SIGKILL), launch(settings, worker=False)
    with killing, pytest.raises(ServiceUnavailable, match=said), failing:
        pass
