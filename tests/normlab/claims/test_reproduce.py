"""The machinery of claims on a real stack: studies run and give verdicts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.claims.loading import load_claims
from normlab.cli.application import run
from normlab.stacks.connection import Connection, read_connection
from normlab.stacks.own import own_stack

SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_claims_run_in_their_quick_form_and_end_with_verdicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tempfile.TemporaryDirectory(prefix="normlab-test-") as folder:
        with own_stack(Path(folder) / "data", SETTINGS) as stack:
            where = ["--url", stack.url, "--token", str(stack.token)]
            page = Path(folder) / "claims.md"
            line = ["reproduce", "e", "j", "k", "l", "r", "--quick", "--json", "--page", str(page)]
            assert run([*where, *line]) == 0
            found = json.loads(capsys.readouterr().out)
            again = Path(folder) / "again" / page.name
            again.parent.mkdir()
            assert run([*where, *line[:-1], str(again)]) == 0
            assert json.loads(capsys.readouterr().out) == found
            # the page of a finished store has the same bytes whenever it is written
            assert again.read_bytes() == page.read_bytes()
        effects = {claim["claim"]: claim["effects"] for claim in found}
        assert {key: len(each) for key, each in effects.items()} == {
            "e-norm-correction": 5, "j-ablation": 2, "k-priors": 5, "l-renorm": 2,
            "r-swapped-normalizer": 6,
        }  # fmt: skip
        both = [effects["e-norm-correction"][2], *effects["j-ablation"], *effects["l-renorm"],
                *effects["r-swapped-normalizer"]]  # fmt: skip
        assert [effect["pairs"] for effect in both] == [2] * 11, both
        text = page.read_text(encoding="utf-8")
        assert "## e-norm-correction: undecided" in text
        assert all((page.with_suffix("") / f"{key}.png").exists() for key in effects)


@pytest.mark.slow
def test_without_a_stack_it_starts_one_and_continues_after_an_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NORMLAB_URL", "NORMLAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # ten jobs one after another: when the first one runs, there is much left to interrupt
    line = ["reproduce", "k", "--quick", "--seeds", "10", "-s", "pack=off", "--json"]
    with tempfile.TemporaryDirectory(prefix="normlab-test-") as folder:
        for name, value in {**SETTINGS, "NORMLAB_DATA_DIR": folder}.items():
            monkeypatch.setenv(name, value)
        Connection("http://127.0.0.1:9", "of a stack that was killed").write(Path(folder))
        for how in (signal.SIGINT, signal.SIGTERM):
            assert_interrupted(line[:-1], how)  # without --json it shows its progress
            assert read_connection(Path(folder)) is None  # its stack has stopped too
        assert run(line) == 0
        first = capsys.readouterr()
        assert "no stack runs: starting one" in first.err
        assert run(line) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(first.out)  # nothing ran twice


def assert_interrupted(line: list[str], how: signal.Signals) -> None:
    """Run *line*, send it *how* when its first job runs, and check how it ends."""
    # tests that run in the background of a shell ignore Ctrl-C by default
    main = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); "
    main += "from normlab.cli import main; main()"
    command = [sys.executable, "-c", main, *line]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if " running" in said:
                break
        process.send_signal(how)
        rest = process.stderr.read()
        assert process.wait(120) == 130, rest
    assert "the same command resumes from here" in rest


def test_bad_requests_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in ((["zz"], "--list"), ([], "--all"), (["a", "--seeds", "1"], "seeds"),
                       (["a", "-s", "base.device"], "FIELD=VALUE"),
                       (["a", "-s", "axis=1"], "did you mean 'axes'?"),
                       (["a", "-s", "lr=1"], "lr: unknown field; known are axes,")):  # fmt: skip
        assert run(["reproduce", *line]) == 2
        assert said in capsys.readouterr().err


def test_the_list_names_every_claim_and_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(load_claims())
    assert run(["reproduce", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["claim"] for one in listed] == list(load_claims())
    assert listed[0]["jobs"] == 120
    assert lines[0].split()[1:3] == ["120", "jobs"]  # 20 combinations on 2 tuning seeds, 4 on 20
