"""A job from a file and from --set."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from normlab.cli.specfile import apply_override, parse, read_spec
from normlab.errors import InvalidSpec


def test_yaml_and_json_give_the_same_spec(tmp_path: Path) -> None:
    as_yaml, as_json = tmp_path / "job.yaml", tmp_path / "job.json"
    as_yaml.write_text("normalizer: batch\noptimizer: {lr: 1e-3}\n")
    as_json.write_text('{"normalizer": "batch", "optimizer": {"lr": 1e-3}}')
    expected = {"normalizer": "batch", "optimizer": {"lr": 0.001}}
    assert read_spec(str(as_yaml), []) == read_spec(str(as_json), []) == expected


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"normalizer": "batch"}'))
    assert read_spec("-", []) == {"normalizer": "batch"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("batch_size=2", {"normalizer": "online", "batch_size": 2}),
        ("optimizer.lr=1e-2", {"normalizer": "online", "optimizer": {"lr": 0.01}}),
        ("normalizer.proxy=true", {"normalizer": {"kind": "online", "proxy": True}}),
        ("normalizer={kind: group}", {"normalizer": {"kind": "group"}}),
        ("name=a=b", {"normalizer": "online", "name": "a=b"}),
        ("time_limit_s=null", {"normalizer": "online", "time_limit_s": None}),
    ],
)
def test_overrides_are_yaml_at_a_dotted_path(override: str, expected: object) -> None:
    spec = parse("normalizer: online", "file")
    apply_override(spec, override)
    assert spec == expected


@pytest.mark.parametrize("field", ["model", "dataset", "optimizer", "schedule", "loss"])
def test_an_option_can_be_set_beside_a_bare_name(field: str) -> None:
    found = read_spec(None, [f"{field}=x", f"{field}.y=1"])
    assert found == {field: {"name": "x", "y": 1}}


def test_overrides_alone_make_a_job() -> None:
    assert read_spec(None, ["normalizer=batch", "epochs=0"]) == {"normalizer": "batch", "epochs": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "has a list in place of fields and their values"),
        ("batch", "has 'batch' in place of fields and their values"),
        (
            "{",
            "neither JSON nor YAML: line 1, column 2: expected the node .* found 'the end'",
        ),
        ("a: b: c", "neither JSON nor YAML: line 1, column 5: mapping values are not allowed"),
        ("a: \0", "neither JSON nor YAML: unacceptable character"),
        ("", r"job\.yaml is empty; write fields, such as `normalizer: batch`"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_refused_on_one_line(text: str, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says) as caught:
        parse(text, "job.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["batch_size", "=2", "a..b=1", "batch_size.x.y=1"])
def test_an_override_that_cannot_be_applied_is_refused(override: str) -> None:
    with pytest.raises(InvalidSpec, match="--set"):
        read_spec(None, ["batch_size=2", override])


def test_text_that_is_not_yaml_is_told_to_be_quoted() -> None:
    with pytest.raises(InvalidSpec, match=r"put text into quotes, as in 'name=\"\.\.\.\"'"):
        read_spec(None, ["name=[bold]mine"])


def test_a_missing_spec_file_is_named() -> None:
    with pytest.raises(InvalidSpec, match=r"nowhere\.yaml"):
        read_spec("nowhere.yaml", [])


def test_a_submission_without_input_says_what_to_give() -> None:
    with pytest.raises(InvalidSpec, match="--set"):
        read_spec(None, [])


@pytest.mark.parametrize(
    "text", ['{"a": ' + "[" * 5000, "a: " + "[" * 3000, '{"a": 1' + "0" * 5000 + "}"]
)
def test_input_that_python_cannot_read_is_reported_in_one_line(text: str) -> None:
    with pytest.raises(InvalidSpec, match="nested too deeply, or a number") as caught:
        parse(text, "job.yaml")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["[" * 3000, "1" + "0" * 5000])
def test_an_override_that_python_cannot_read_is_reported_in_one_line(value: str) -> None:
    with pytest.raises(InvalidSpec, match="nested too deeply, or a number"):
        apply_override({}, f"seed={value}")
