"""The commands of the page about real networks run in a fresh folder, with a separate stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from normlab.client import Client
from normlab.records import JobDetail
from normlab.stacks.connection import Connection
from normlab.stacks.own import own_stack
from tests.docs.test_pages import SETTINGS, Block, _type, blocks

PAGE = "real-work.md"
SECOND = "import os\nimport re"  # the block that begins the second half: kill, resume, fine-tune


class Typed(NamedTuple):
    """The stack of the page, what its code has defined by now, and what is not typed yet."""

    connection: Connection
    known: dict[str, Any]
    rest: list[Block]

    def jobs(self) -> list[JobDetail]:
        with Client(self.connection.url, self.connection.token) as client:
            return [client.get(job.id) for job in client.list()]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typed]:
    """Type the first half of the page, in its folder."""
    folder = tmp_path_factory.mktemp("page")
    given = {**SETTINGS, "NORMLAB_DATA_ROOT": str(folder / "datasets")}
    with pytest.MonkeyPatch.context() as patch, own_stack(folder / "stack", given) as connection:
        patch.chdir(folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("HF_HOME", str(folder / "no-cache"))
        patch.setenv("NORMLAB_DATA_ROOT", given["NORMLAB_DATA_ROOT"])
        patch.setenv("NORMLAB_URL", connection.url)
        patch.setenv("NORMLAB_TOKEN", str(connection.token))
        page = [block for block in blocks(PAGE) if block.language != "console"]
        (half,) = [i for i, block in enumerate(page) if block.text.startswith(SECOND)]
        known: dict[str, Any] = {}
        for block in page[:half]:
            _type(block, PAGE, known)
        yield Typed(connection, known, page[half:])


def test_a_reader_fetches_pictures_and_trains_a_network_of_timm_with_three_normalizers(
    typed: Typed,
) -> None:
    trained = [job for job in typed.jobs() if job.study is not None]
    assert {(j.normalizer, j.batch_size) for j in trained} == {
        (kind, size) for kind in ("batch", "group", "layer") for size in (2, 32)
    }
    assert {job.state for job in trained} == {"succeeded"}
    for job in trained:
        conversion = job.attempts[-1].environment["conversion"]
        assert conversion.startswith(f"converted to {job.normalizer}: 15, kept: 0, skipped: 0")


def test_the_worker_of_the_page_has_timm_and_no_pretrained_weights(typed: Typed) -> None:
    with Client(typed.connection.url, typed.connection.token) as client:
        (device,) = [d for d in client.devices() if d.kind == "cpu"]
    assert "timm" in device.workers[0].versions
    (failed,) = [job for job in typed.jobs() if job.state == "failed"]
    assert failed.error is not None
    assert "is not in the cache of this worker" in failed.error.message


def test_a_reader_kills_a_job_within_an_epoch_compares_bits_fine_tunes_and_evaluates(
    typed: Typed,
) -> None:
    for block in typed.rest:
        _type(block, PAGE, typed.known)
    jobs = typed.jobs()
    (killed,) = [job for job in jobs if job.name == "killed"]
    (swapped,) = [job for job in jobs if job.name == "swapped"]
    assert any("SIGKILL" in (attempt.message or "") for attempt in killed.attempts)
    resumed = killed.attempts[-1]
    assert resumed.resumed_from_step % 35 == 0  # at a checkpoint, and
    assert resumed.resumed_from_step % 48 > 0  # in the middle of an epoch
    assert resumed.environment["loading"].startswith("streamed")
    assert swapped.attempts[-1].environment["init_from"]["carried"]
