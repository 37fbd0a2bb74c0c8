"""Read and write specifications as YAML or JSON (which is YAML too)."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping

import yaml

from normlab.errors import InvalidSpec

if TYPE_CHECKING:
    from normlab.specs.jobs import JobSpec

_PARTS = ("normalizer", "model", "dataset", "optimizer", "schedule")  # the parts of every job
_BEYOND = "nested too deeply, or a number with thousands of digits; a job has neither"


_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML with JSON's numbers and truth values: `1e-3` is a number, and `off` is a word."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# `off` in `pack: off` is a word, not `false`; boolean fields accept both
_Loader.add_implicit_resolver(
    _BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def parse(text: str, source: str) -> Dict[str, Any]:
    """Parse the JSON or YAML *text* of *source*, which must be a mapping."""
    with said_of(source, "neither JSON nor YAML"):
        try:
            value = json.loads(text) if text.lstrip().startswith("{") else value_of(text)
        except json.JSONDecodeError:  # text that begins like JSON may still be YAML in flow style
            value = value_of(text)
    if value is None:
        raise InvalidSpec(f"{source} is empty; write fields, such as `normalizer: batch`")
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else repr(value)[:60]
        raise InvalidSpec(
            f"{source} has {found} in place of fields and their values; write fields, such as "
            "`normalizer: batch`"
        )
    return value


@contextmanager
def said_of(source: str, rule: str) -> Iterator[None]:
    """Translate the errors of a parser: *source* breaks the *rule*, or is too deep or too long."""
    try:
        yield
    except yaml.YAMLError as e:
        raise InvalidSpec(f"{source}: {rule}: {_why(e)}") from e
    except (RecursionError, ValueError) as e:
        raise InvalidSpec(f"{source}: {_BEYOND}") from e


def _why(error: yaml.YAMLError) -> str:
    """Return what the parser found and where, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error).splitlines()[0]
    met = str(getattr(error, "problem", "")).replace("<stream end>", "the end")
    return f"line {mark.line + 1}, column {mark.column + 1}: {met}"


def value_of(text: str) -> Any:
    """Read YAML; raise yaml.YAMLError if *text* is not YAML."""
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: it creates only plain data


def refuse_aliases(text: str, source: str) -> None:
    """Raise InvalidSpec if *text* repeats parts by name: a few lines could stand for gigabytes."""
    with said_of(source, "neither JSON nor YAML"):
        events = yaml.parse(text, Loader=_Loader)
        named = [event.anchor for event in events if isinstance(event, yaml.AliasEvent)]
    if named:
        raise InvalidSpec(f"{source}: *{named[0]} repeats a part by its name; write it out")


def as_yaml(spec: Mapping[str, Any]) -> str:
    """Write plain data as YAML that `parse` reads back, in the order of its fields."""
    return str(yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True))


def in_short(spec: JobSpec) -> Dict[str, Any]:
    """Return the fields of *spec* that are not the defaults, and the kind or name of each part."""
    full, short = spec.model_dump(mode="json"), spec.model_dump(mode="json", exclude_defaults=True)
    for part in _PARTS:
        short.setdefault(part, {})
    return {field: _named(full[field], short[field]) for field in full if field in short}


def _named(full: Any, short: Any) -> Any:
    """Add to each part of *short* its kind or name, also where that is the default."""
    if isinstance(full, list):
        return [_named(one, left) for one, left in zip(full, short)]
    if not isinstance(full, dict):
        return short
    names = {tag: full[tag] for tag in ("kind", "name") if full.get(tag) is not None}
    return {**names, **{field: _named(full[field], value) for field, value in short.items()}}
