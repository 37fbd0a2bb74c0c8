"""Helpful help, errors of one line, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, cast

import httpx
import pytest
import typer.main

from normlab.cli import application, results
from normlab.cli.application import app, run
from normlab.client import Client
from normlab.errors import FieldProblem, InvalidSpec
from normlab.stacks.addresses import Address, resolve
from normlab.stacks.connection import Connection
from tests.normlab.cli.stacks import running


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words
    for name, one in (inner or {}).items():
        yield from leaves(one, (*words, name))


COMMANDS = sorted(" ".join(words) for words in leaves(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def _no_stack_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMLAB_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("NORMLAB_URL", raising=False)
    monkeypatch.delenv("NORMLAB_TOKEN", raising=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"normlab {command}" in said.partition("Examples:")[2]


def words_of(text: Any) -> str:
    """Return *text* without the spaces and frames that the help adds."""
    return re.sub(r"[\s│]", "", text or "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_prints_every_bracket_that_was_written(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    shown = words_of(capsys.readouterr().out)
    group = typer.main.get_command(app)
    for word in command.split():
        group = cast("Any", group).commands[word]
    written = [group.help, *(getattr(p, "help", None) for p in group.params)]
    # in rich's markup a bracket can only be written escaped
    for line in [*written, *(group.epilog or "").split("\n\n")]:
        assert words_of(line).replace("\\[", "[") in shown


def test_help_shows_a_list_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "run", "--help"]) == 0
    assert "{normalizer: [batch, group, online], batch_size: [32, 8, 2]}" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"up"}))
def test_every_command_that_answers_can_answer_in_json(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*command.split(), "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"up", "watch", "weights"}))
def test_every_command_that_answers_takes_the_form_of_its_answer(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*command.split(), "--help"])
    assert re.search(r"--output +-o .*json", capsys.readouterr().out)  # not the name of a file
    assert run([*command.split(), "-o"]) == 2
    assert "-o" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from normlab.cli.application import run; run(['--help']); "
        "print(sorted({'torch', 'numpy', 'pydantic', 'httpx', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["no-such-command"], 2),
        (["ls", "--limit", "many"], 2),
        (["show"], 2),
        (["submit"], 2),
        (["submit", "nowhere.yaml"], 2),
        (["ls"], 3),
        (["--url", "127.0.0.1:8642", "ls"], 2),
        (["--url", "localhost", "ls"], 2),
        (["--url", "ftp://localhost", "ls"], 2),
        (["--url", "http://", "ls"], 2),
        (["--url", "http://local host", "ls"], 2),
        (["--url", "http://localhost:1", "--token", "a\nb", "ls"], 2),
        (["--url", "http://localhost:99999", "ls"], 2),
        (["--url", "http://127.0.0.1:1", "export", "j"], 3),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    line: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("normlab: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "help_"),
    [
        ("nope", "normlab --help"),
        ("ls --nope", "normlab ls --help"),
        ("study run", "normlab study run --help"),
        ("study nope", "normlab study --help"),
    ],
)
def test_a_wrong_command_line_names_the_help_that_has_the_right_one(
    line: str, help_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert capsys.readouterr().err.endswith(f"({help_})\n")


def test_a_group_of_commands_alone_prints_its_help_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["study"]) == 2
    said = capsys.readouterr()
    assert "preview" in said.out
    assert said.err == ""


@pytest.mark.parametrize("url", ["localhost:8642", "http://", "http://a:99999", "http://[a"])
def test_an_invalid_address_is_named_with_a_valid_one(url: str) -> None:
    with pytest.raises(
        InvalidSpec, match=r"is not the address of an API.* http://127\.0\.0\.1:8642"
    ):
        Client(url)


def test_a_file_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"study": "s", "metric": "val/loss", "reduction": "last", "interval": "t"}
    table = {**asked, "confidence": 0.95, "group_by": [], "rows": []}
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json=table))
    monkeypatch.setattr(results, "connect", lambda ctx: Client("http://stack", http=answer))
    place = tmp_path / "nowhere" / "rows.md"
    study = "01a22b00-0000-7000-8000-00000000beef"
    assert run(["results", study, "--format", "markdown", "--output", str(place)]) == 2
    assert capsys.readouterr().err == f"normlab: {place}: No such file or directory\n"


def test_fields_that_are_wrong_are_named_with_their_rules() -> None:
    error = InvalidSpec(
        "two fields", [FieldProblem("batch_size", "at least 1"), FieldProblem("lr", "finite")]
    )
    assert application.one_line(error) == "batch_size: at least 1; lr: finite"


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "app", interrupted)
    assert run(["ls"]) == 130


def test_the_command_line_overrides_the_file_of_a_running_stack(tmp_path: Path) -> None:
    with running(tmp_path, "http://here:1", "of the stack"):
        expected = Connection("http://here:1", "of the stack")
        assert resolve(Address(None, None, tmp_path)) == expected
        assert resolve(Address("http://here:1/", None, tmp_path)).token == "of the stack"
        assert resolve(Address("http://there:2", None, tmp_path)).token is None
        assert resolve(Address("http://there:2", "mine", tmp_path)).token == "mine"


def test_only_the_owner_can_read_the_file_of_a_stack(tmp_path: Path) -> None:
    path = Connection("http://here:1", "secret").write(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_option_of_all_commands_is_told_to_go_before_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, option in ((["ls", "--url", "x"], "--url"), (["ls", "--token", "x"], "--token")):
        assert run(words) == 2
        assert capsys.readouterr().err == (
            f"normlab: No such option: {option}; write it before the command: "
            f"normlab {option} ... ls\n"
        )


def complete(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_NORMLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    with pytest.raises(SystemExit):
        run([])


def test_tab_offers_the_kinds_of_normalizer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    complete("normlab normalizers batch", monkeypatch)
    assert capsys.readouterr().out.split() == ["batch", "batch_renorm"]


def test_tab_completion_offers_no_jobs_without_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    complete("normlab show ", monkeypatch)
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ls -o xml", "'xml' is not one of 'table', 'json', 'yaml', 'csv'"),
        ("ls --limit many", "must be a whole number, not 'many'"),
        ("results x --confidence high", "must be a number, not 'high'"),
    ],
)
def test_a_value_of_another_type_is_refused_in_our_words_with_the_value(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Value error" not in err
    assert len(err.splitlines()) == 1
