"""Check the parts of a stack one by one: report the findings and how to fix them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import httpx

from normlab.cli.connecting import client_of
from normlab.cli.output import console, print_json
from normlab.counting import counted
from normlab.errors import NormlabError, Unauthorized
from normlab.records.catalogue import DeviceRecord, WorkerRecord
from normlab.records.plugins import PluginList
from normlab.stacks.addresses import Address, data_dir_of, resolve
from normlab.stacks.checks import SET_CLOCKS, Check, Grade
from normlab.stacks.connection import Connection
from normlab.stacks.proxies import http_client, why_silent

PATIENCE_S = 5.0
HOST_CHECKS_WITHIN_S = 120.0
CLOCK_OFF_S = 5.0
MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "bad": "[red]bad[/]"}


def examine(address: Address) -> Iterator[Check]:
    """Check the API from outside, then the parts of a stack on this machine, if it has any."""
    yield from _api(address)
    yield from _host(address)


def report(findings: Iterator[Check], *, as_json: bool) -> int:
    """Print each finding as soon as it is known; return 1 if one is bad."""
    seen: List[Check] = []
    out = console()
    for finding in findings:
        seen.append(finding)
        if not as_json:
            out.print(f"{MARKS[finding.verdict]:>4}  ", end="")
            out.print(f"{finding.check}: {finding.found}", markup=False)
            if finding.mend:
                out.print(f"      -> {finding.mend}", markup=False, style="bold")
    if as_json:
        print_json([finding._asdict() for finding in seen])
    return 1 if any(finding.verdict == "bad" for finding in seen) else 0


def _api(address: Address) -> Iterator[Check]:
    try:
        connection = resolve(address)
    except NormlabError as e:
        yield Check("API", "bad", str(e), "normlab up, or give --url")
        return
    try:
        sent = time.time()
        pinned = None if connection.certificate is None else Path(connection.certificate)
        timeout = httpx.Timeout(PATIENCE_S)
        with http_client(connection.url, timeout=timeout, certificate=pinned) as http:
            answer = http.get("/readyz")
    except (httpx.HTTPError, NormlabError) as e:
        mend = "start it (`normlab up`), or correct --url"
        why = why_silent(e)
        yield Check("API", "bad", f"no answer from {connection.url}: {why}", mend)
        return
    yield from _readiness(connection, answer)
    yield _clock(answer, (sent + time.time()) / 2)
    yield from _token_and_workers(connection)


def _readiness(connection: Connection, answer: httpx.Response) -> Iterator[Check]:
    parts = _mapping(answer)
    if parts.get("status") == "ready":
        yield Check("API", "ok", f"ready at {connection.url}")
    elif "status" in parts:
        yield Check("API", "bad", f"{connection.url} is not ready", "see the parts below")
    else:
        found = f"{connection.url} does not answer as normlab does"
        yield Check("API", "bad", found, "correct --url, or ask who runs the program there")
    for part, (verdict, mend) in _PARTS.items():
        text = str(parts.get(part, "ok"))
        if text not in ("ok", "unknown"):  # unknown: the failure comes before the token is checked
            yield Check(f"API's {part}", verdict, text, mend)


_PARTS: Dict[str, Tuple[Grade, str]] = {
    "database": ("bad", "start PostgreSQL, or correct NORMLAB_DATABASE_URL, then restart the API"),
    "migrations": ("bad", "python -m service.migrate"),
    "writes": ("bad", "free space on the database's disk, or make it writable again"),
    "disk": ("warn", "remove old job folders, or set NORMLAB_DATA_DIR to a larger disk"),
    "broker": ("warn", "start Redis, or correct NORMLAB_BROKER_URL; until then jobs start later"),
    "events": ("warn", "nothing if this is temporary; else check the database's connection limit"),
}


def _clock(answer: httpx.Response, middle: float) -> Check:
    date = answer.headers.get("Date")
    if date is None:
        return Check("clock", "ok", "the API sends no date to compare with")
    off = abs(parsedate_to_datetime(date).timestamp() - middle)
    if off > CLOCK_OFF_S:
        return Check("clock", "warn", f"{off:.0f} s between here and the API's host", SET_CLOCKS)
    return Check("clock", "ok", "agrees with the API's host")


def _plugins(found: PluginList) -> Iterator[Check]:
    for plugin in found.plugins:
        if plugin.everywhere:
            adds = ", ".join(f"{entry.part} {entry.name}" for entry in plugin.entries)
            yield Check("plugin", "ok", f"{plugin.name} adds {adds}")
    for trouble in found.troubles:
        mend = "correct it, then restart the API; `normlab plugins` shows the traceback"
        yield Check("plugin", "bad", f"{trouble.name}: {trouble.reason}", mend)


def _token_and_workers(connection: Connection) -> Iterator[Check]:
    try:
        with client_of(connection, tries=1, timeout_s=PATIENCE_S) as client:
            devices, plugins = client.devices(), client.plugins.list()
    except Unauthorized as e:
        yield Check("token", "bad", str(e), "give --token or NORMLAB_TOKEN as `up` printed it")
        return
    except NormlabError as e:
        mend = "fix the problems above, then check again"
        yield Check("token", "warn", f"not tried: {e}", mend)
        return
    yield Check("token", "ok", "accepted")
    yield from _plugins(plugins)
    live = [worker for device in devices for worker in device.workers]
    for worker in live:
        yield from _worker(worker)
    for device in devices:
        yield from _queue(device)
    if not live:
        found = "no worker is live: jobs stay queued until one starts"
        yield Check("workers", "warn", found, "normlab up")


def _worker(worker: WorkerRecord) -> Iterator[Check]:
    where = f"{worker.device} at {worker.address}" if worker.address else worker.device
    text = f"{worker.id} on {where}, {worker.busy} of {worker.slots} slots busy"
    if worker.able:
        yield Check("worker", "ok", f"{text}, last seen {worker.last_seen_s:.0f} s ago")
    else:
        mend = "fix what the reason names on its host, then restart the worker"
        yield Check("worker", "bad", f"{worker.id} takes no jobs: {worker.why}", mend)
    for name, reason in worker.cannot_load.items():
        found = f"{worker.id} cannot load {name}: {reason}"
        mend = "install what is missing for the Python of its jobs, then restart the worker"
        yield Check("plugin", "warn", found, mend)


def _queue(device: DeviceRecord) -> Iterator[Check]:
    jobs = counted(device.queued, "job")
    if device.queued and not device.workers:
        wait = "waits" if device.queued == 1 else "wait"
        mend = f"python -m workers --device {device.kind}, or submit with device auto"
        found = f"{jobs} {wait} for {device.kind}, which no worker serves"
        yield Check("workers", "bad", found, mend)
    elif device.queued and all(worker.busy == 0 for worker in device.workers):
        mend = (
            "normlab show JOB says what it waits for; if it waits for its turn, restart the worker"
        )
        found = f"{jobs} waiting for {device.kind}, although its workers are idle"
        yield Check("workers", "warn", found, mend)


def _host(address: Address) -> Iterator[Check]:
    if find_spec("service") is None or find_spec("sqlalchemy") is None:
        yield Check("this machine", "ok", "a client only; `pip install 'normlab[server]'` for more")
        return
    environment = {**os.environ, "NORMLAB_DATA_DIR": str(data_dir_of(address))}
    try:
        # a separate process: the client never imports the service
        done = subprocess.run(
            [sys.executable, "-m", "service.doctor"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=HOST_CHECKS_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = f"the checks did not end within {HOST_CHECKS_WITHIN_S:g} s"
        yield Check("this machine", "bad", found, "look for a hanging disk or database")
        return
    for line in done.stdout.splitlines():
        yield Check(**json.loads(line))
    if done.returncode:
        yield Check("this machine", "bad", done.stderr.strip()[-500:], "see the message")


def _mapping(answer: httpx.Response) -> Dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
