"""Each plugin is described in its own process, so that a bad one does not affect anything else."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from normlab.errors import ServiceUnavailable
from normlab.plugins.describing import Trouble
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import use
from normlab.plugins.sources import PluginFiles
from normlab.specs.jobs import JobSpec
from service.inspector import Inspector
from service.settings import Settings
from tests.normlab.plugins.authors import BROKEN, mine, source

WITHIN_S = 20  # a good plugin takes less, even on a busy machine


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process that gives a plugin little time."""
    path = tmp_path_factory.mktemp("inspector") / "socket"
    line = [sys.executable, "-m", "accelerators.inspection", "--socket", str(path), "--lifeline"]
    process = subprocess.Popen([*line, "--answer-within-s", str(WITHIN_S)], stdin=subprocess.PIPE)
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    yield path
    process.communicate()


def inspector(socket: Path, *known: PluginFiles) -> Inspector:
    sources = {one.digest: one for one in known}
    return Inspector(Settings(inspector_socket=socket), sources.__getitem__)


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_plugin_is_named_with_its_reason(socket: Path, name: str) -> None:
    text, reason = BROKEN[name]
    trouble = inspector(socket).describe(source(name, text))
    assert isinstance(trouble, Trouble)
    assert trouble.name == name
    assert reason in trouble.reason


def test_a_good_plugin_is_described_after_all_of_these(socket: Path) -> None:
    found = inspector(socket).describe(mine())
    assert isinstance(found, PluginDescription)
    assert found.digest == mine().digest
    assert found.name == "my_norms.py"


def test_a_traceback_shows_the_authors_lines_and_no_others(socket: Path) -> None:
    text = "def deep(x):\n    return x / 0\n\ndeep(1)\n"
    trouble = inspector(socket).describe(source("divides.py", text))
    assert isinstance(trouble, Trouble)
    assert trouble.traceback.count("File ") == 2
    assert 'divides.py", line 4' in trouble.traceback
    assert "normlab" not in trouble.traceback


@pytest.mark.usefixtures("no_plugins")
def test_a_model_with_code_is_inspected_with_it(socket: Path) -> None:
    asking = inspector(socket, mine())
    found = asking.describe(mine())
    assert isinstance(found, PluginDescription)
    use([found])
    inspection = asking.ask(JobSpec(normalizer="dyt_of_mine"))
    assert inspection is not None
    assert inspection.ipu_passes, inspection.ipu_message
    plain = asking.ask(JobSpec(normalizer="none"))
    assert plain is not None
    assert inspection.parameters > plain.parameters


def test_without_such_a_process_nothing_is_described(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="no process here describes plugins"):
        inspector(tmp_path / "nobody").describe(mine())
