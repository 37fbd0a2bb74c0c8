"""A user's own code on a real stack: uploaded, run, compared, and run again with the same bits."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.cli.application import run
from normlab.client import Client
from normlab.client.reruns import compare
from normlab.stacks.connection import Connection
from normlab.stacks.own import own_stack
from tests.normlab.plugins.authors import BROKEN, MY_NORMS, mine

SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "1", "OMP_NUM_THREADS": "1"}
SMALL = {"dataset": {"name": "digits", "train_size": 128, "test_size": 64}, "epochs": 1}
STUDY = {
    "name": "mine beside theirs",
    "base": SMALL,
    "code": "my_norms.py",
    "axes": {"normalizer": ["batch", {"kind": "dyt_of_mine", "alpha": 0.8}, "power_of_mine"]},
    "seeds": 1,
}
Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="normlab-test-")))
        operators = folder / "plugins"
        operators.mkdir()
        (operators / "house.py").write_text(MY_NORMS.replace("_of_mine", "_of_the_house"))
        (operators / "divides.py").write_text(BROKEN["divides.py"][0])
        settings = {**SETTINGS, "NORMLAB_PLUGIN_FOLDER": str(operators)}
        yield stack.enter_context(own_stack(folder / "data", settings))


@pytest.fixture
def cli(
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """The command line in a fresh folder with the author's file."""
    (tmp_path / "my_norms.py").write_text(MY_NORMS)
    monkeypatch.chdir(tmp_path)

    def call(*line: str) -> tuple[int, str, str]:
        code = run(["--url", connection.url, "--token", str(connection.token), *line])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def test_a_study_compares_a_layer_of_ones_own_with_ours(cli: Run, connection: Connection) -> None:
    Path("study.yaml").write_text(json.dumps(STUDY))
    code, out, err = cli("study", "run", "study.yaml")
    assert code == 0, err
    assert "dyt_of_mine(alpha=0.8)" in out
    assert "power_of_mine" in out
    with Client(connection.url, connection.token) as client:
        jobs = {job.normalizer: client.get(job.id) for job in client.list()}
    assert jobs["dyt_of_mine"].spec.code == (mine().digest,)
    assert jobs["batch"].spec.code == ()
    environment = jobs["dyt_of_mine"].attempts[-1].environment
    assert environment["packages"]["torch"]
    assert environment["host"]["name"]


def test_what_ran_is_not_run_again_until_its_code_changes(cli: Run, connection: Connection) -> None:
    with Client(connection.url, connection.token) as client:
        upload = client.plugins.upload("my_norms.py")
        base = {**SMALL, "code": [upload.digest]}
        study = {"name": "again", "base": base, "axes": STUDY["axes"], "seeds": 1}
        assert client.studies.preview(study).reusable == 3
        Path("my_norms.py").write_text(MY_NORMS.replace("= 0.5", "= 0.25"))
        base = {**SMALL, "code": [client.plugins.upload("my_norms.py").digest]}
        assert client.studies.preview({**study, "base": base}).reusable == 1


def test_a_job_with_code_reproduces_to_the_bit(cli: Run, connection: Connection) -> None:
    given = ["-s", "normalizer=power_of_mine", "-s", "dataset.name=digits", "-s", "epochs=1"]
    code, out, err = cli("submit", "--code", "my_norms.py", *given, "--wait", "--json")
    assert code == 0, err
    job = json.loads(out)["id"]
    code, out, err = cli("rerun", job)
    assert code == 0, out + err
    assert "the same, bit for bit" in out


def test_what_differs_between_two_machines_is_told(cli: Run, connection: Connection) -> None:
    with Client(connection.url, connection.token) as client:
        job = client.submit({**SMALL, "normalizer": "batch"})
        before = client.get(client.wait(job.id).id)
        environment = before.attempts[-1].environment
        packages = {**environment["packages"], "torch": "1.0"}
        attempt = before.attempts[-1].model_copy(
            update={"environment": {**environment, "packages": packages}}
        )
        last = {**before.last, "val/loss": before.last["val/loss"].model_copy(update={"value": 9})}
        other = before.model_copy(update={"attempts": [attempt], "last": last})
        found = compare(before, other, client, client)
    assert not found.same
    assert [name for name, _, _ in found.metrics] == ["val/loss"]
    (difference,) = found.differences
    assert difference.startswith("packages torch: 2.")
    assert difference.endswith("then, 1.0 now")


@pytest.mark.parametrize("name", ["divides.py", "silent.py"])
def test_broken_code_is_one_line_and_exit_2(cli: Run, name: str) -> None:
    text, reason = BROKEN[name]
    Path(name).write_text(text)
    code, _, err = cli("submit", "--code", name, "-s", "normalizer=batch")
    assert code == 2
    assert reason in err
    assert len(err.splitlines()) == 1


def test_the_stacks_plugins_are_listed_with_what_they_add(cli: Run) -> None:
    given = ["-s", "normalizer=dyt_of_mine", "-s", "epochs=0"]
    assert cli("submit", "--code", "my_norms.py", *given)[0] == 0
    code, out, _ = cli("plugins")
    assert code == 1
    assert "normalizer dyt_of_mine" in out
    assert "normalizer dyt_of_the_house" in out
    assert "divides.py cannot be used: ZeroDivisionError" in out
    assert "1 / 0" in out


def test_the_doctor_names_the_operators_plugins_and_what_is_wrong(cli: Run) -> None:
    code, out, _ = cli("doctor")
    assert code == 1
    assert "house.py adds normalizer dyt_of_the_house" in out
    assert "divides.py: ZeroDivisionError: division by zero" in " ".join(out.split())
