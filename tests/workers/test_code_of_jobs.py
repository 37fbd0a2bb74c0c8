"""A job process runs the code with which its job was accepted, and no other."""

from __future__ import annotations

from pathlib import Path

from normlab.events import Failed, Finished
from normlab.plugins.loading import load, use
from tests.normlab.plugins.authors import mine
from tests.normlab.plugins.own_networks import JOB, my_nets
from workers.job_order import CodeReference
from workers.process import Launcher

from .conftest import SHORT, make_order, read_to_the_end


def test_a_plugin_is_loaded_before_the_spec_that_uses_it(
    launcher: Launcher, tmp_path: Path, no_plugins: None
) -> None:
    place = mine().written_below(tmp_path / "code")
    code = CodeReference(digest=mine().digest, name="my_norms.py", folder=str(place))
    use([load(place, "my_norms.py")])
    order = make_order(tmp_path, {**SHORT, "normalizer": "dyt_of_mine"}, code=[code])
    events, log = read_to_the_end(launcher.start(order))
    assert events[-1].type == "finished", log


def test_a_plugin_that_is_not_what_was_accepted_is_not_run(
    launcher: Launcher, tmp_path: Path, no_plugins: None
) -> None:
    place = mine().written_below(tmp_path / "code")
    (place / "my_norms.py").write_text("print('it ran')")
    code = CodeReference(digest=mine().digest, name="my_norms.py", folder=str(place))
    process = launcher.start(make_order(tmp_path, SHORT, code=[code]))
    events, log = read_to_the_end(process)
    (failed,) = events
    assert isinstance(failed, Failed)
    assert "was changed" in failed.message
    assert b"it ran" not in log


def test_a_network_and_a_dataset_of_ones_own_train(
    launcher: Launcher, tmp_path: Path, no_plugins: None
) -> None:
    place = my_nets().written_below(tmp_path / "code")
    code = CodeReference(digest=my_nets().digest, name="my_nets.py", folder=str(place))
    use([load(place, "my_nets.py")])
    spec = {**JOB, "model": {"name": "torches_of_mine"}, "normalizer": "group"}
    events, log = read_to_the_end(launcher.start(make_order(tmp_path, spec, code=[code])))
    finished = events[-1]
    assert isinstance(finished, Finished), log
    assert finished.summary["steps"] == 8
    assert finished.summary["conversion"].startswith("converted to group: 1, kept: 0")
    assert b"body.1" in log
