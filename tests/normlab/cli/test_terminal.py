"""The command line in a terminal of 80 columns, used like a person at a keyboard."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Iterator

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")
pytest.importorskip("pyte", reason="the emulation of a terminal is not installed")

from normlab.client import Client
from normlab.stacks.connection import Connection
from tests.terminal import Terminal

from .conftest import QUICK

SETTINGS = {**QUICK, "NORMLAB_SLOTS": "1"}
DATA = {"name": "digits", "train_size": 128, "test_size": 64}
SMALL = {"dataset": DATA, "batch_size": 16, "epochs": 2, "threads": 1}
SET = "-s dataset.name=digits -s dataset.train_size=128 -s dataset.test_size=64 -s threads=1"


@pytest.fixture
def terminal(connection: Connection, tmp_path: Path) -> Iterator[Terminal]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    stack = {"NORMLAB_URL": connection.url, "NORMLAB_TOKEN": str(connection.token)}
    with Terminal(80, 24, {"PATH": path, "HOME": str(tmp_path), **stack}) as opened:
        yield opened


def whole(lines: list[str]) -> str:
    """Join a long line again, which the terminal has wrapped."""
    return "".join(lines)


def ended(client: Client, normalizer: str) -> str:
    return client.wait(client.submit({**SMALL, "normalizer": normalizer}).id, timeout_s=240).id


def test_a_person_trains_lists_looks_and_tidies_up(terminal: Terminal, client: Client) -> None:
    assert "succeeded after" in whole(terminal.run(f"normlab submit -s normalizer=group {SET} -w"))
    other = ended(client, "batch")
    head, *rows = terminal.run("normlab ls -n 2")
    assert re.match(r"job +(name +)?state +normalizer", head)
    short = rows[1].split()[0]
    assert [row.split()[0] for row in rows] == [other[-8:], short]
    assert all("succeeded" in row and "…" not in row for row in rows)
    assert any(
        line.split() == ["state", "succeeded"] for line in terminal.run(f"normlab show {short}")
    )
    differs = terminal.run(f"normlab diff {short} {other[-8:]}")
    assert ["normalizer.kind", "group", "batch"] in [line.split() for line in differs]
    assert terminal.run("normlab best -n 1")[0].startswith("job")
    assert terminal.run(f"normlab tag {short} -a paper")[0].endswith("paper")
    assert terminal.run("normlab ls --filter 'tag = paper' --ids")[0].endswith(short)
    assert terminal.run(f"normlab open {short} --print")[0].endswith(f"{short}")
    assert "in the trash" in whole(terminal.run(f"normlab rm {short}"))
    assert "succeeded" in whole(terminal.run(f"normlab restore {short}"))


def test_courses_refresh_in_place_until_the_job_has_ended(
    terminal: Terminal, client: Client
) -> None:
    job = client.submit({**SMALL, "normalizer": "layer", "epochs": 100_000}).id
    terminal.type(f"normlab tail {job[-8:]} --follow\n")
    first = terminal.wait_for(r"update [1-9]\d*.*\n(.*\n)*val/loss +[▁▂▃▄▅▆▇█]+ ")
    reached = re.findall(r"update (\d+)", first)[-1]
    terminal.wait_for(rf"running, update (?!{reached} )[1-9]\d* of")
    client.cancel(job)
    said = terminal.wait_for(r"cancelled, update(.*\n)+\$ $")
    assert said.count("metric ") == 1  # one table, drawn over itself
    assert max(map(len, said.splitlines())) <= 80


def test_tab_completes_jobs_kinds_fields_and_metrics(terminal: Terminal, client: Client) -> None:
    job = ended(client, "instance")
    terminal.run('eval "$(normlab --show-completion bash)"')
    for typed, completed in {
        f"normlab show {job[:-1]}": job,
        "normlab normalizers online": "online",
        "normlab submit -s optimizer.mom": "optimizer.momentum=",
        "normlab best -m val/acc": "val/accuracy",
        "normlab comp": "compare",
    }.items():
        terminal.complete(typed, re.escape(completed) + r" ?$")
        terminal.type("\x15")  # take the line away


def test_what_is_wrong_is_one_line_without_a_word_of_http(terminal: Terminal) -> None:
    for command in (
        "normlab show nothing",
        "normlab best -o xml",
        "normlab ls --filter 'lrr = 3'",
        "normlab --token wrong ls",
        "normlab --url http://127.0.0.1:1 ls",
    ):
        said = whole(terminal.run(command))
        assert said.startswith("normlab: ")
        assert not re.search(r"\b[45]\d\d\b|HTTP|Error|[Ss]tatus", said)
