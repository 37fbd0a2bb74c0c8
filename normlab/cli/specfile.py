"""Read a job's specification from a file and from `--set`."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence

import yaml

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.exclusions import SHORT_FOR

_BEYOND = "nested too deeply, or a number with thousands of digits; a job has neither"


class _Loader(yaml.SafeLoader):
    """YAML with JSON's number format: `1e-3` is a number, not text."""


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def read_spec(source: Optional[str], overrides: Sequence[str]) -> Dict[str, Any]:
    """
    Return the specification that *source* with *overrides* describes.

    Args:
        source: a file of JSON or YAML; `-`: standard input; None: nothing but overrides.
        overrides: for example `optimizer.lr=0.05`; the value is YAML.

    Raises:
        InvalidSpec: if there is nothing to read, or it is not a mapping.
    """
    if source is None and not overrides:
        raise InvalidSpec("no job: give a file, `-` for standard input, or --set FIELD=VALUE")
    spec = {} if source is None else parse(_text(source), source)
    for override in overrides:
        apply_override(spec, override)
    return spec


def parse(text: str, source: str) -> Dict[str, Any]:
    """Parse the JSON or YAML *text* of *source*, which must be a mapping."""
    with _said_of(source, "neither JSON nor YAML"):
        try:
            value = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
        except json.JSONDecodeError:  # what begins like JSON may still be YAML in flow style
            value = _yaml(text)
    if not isinstance(value, dict):
        found = type(value).__name__
        raise InvalidSpec(f"{source}: a job is a mapping of fields to values, not a {found}")
    return value


def apply_override(spec: Dict[str, Any], override: str) -> None:
    """Set one field of *spec*, as `optimizer.lr=0.05` says."""
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise InvalidSpec(f"--set {override}: write FIELD=VALUE, such as --set optimizer.lr=0.05")
    with _said_of(f"--set {override[:60]}", "the value is not YAML"):
        value = _yaml(text)
    _set(spec, names, value, override)


def _set(spec: Dict[str, Any], names: Sequence[str], value: Any, override: str) -> None:
    target = spec
    for depth, name in enumerate(names[:-1]):
        inner = target.get(name)
        if isinstance(inner, str) and name in SHORT_FOR:
            inner = {SHORT_FOR[name]: inner}  # "online" is short for {"kind": "online"}
        elif inner is None:
            inner = {}
        if not isinstance(inner, dict):
            field = ".".join(names[: depth + 1])
            rule = f"is {inner!r}, which has no fields to set"
            raise InvalidSpec(f"--set {override}: {field} {rule}", [FieldProblem(field, rule)])
        target[name] = dict(inner)
        target = target[name]
    target[names[-1]] = value


def _text(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as e:
        raise InvalidSpec(f"{source}: {e.strerror or e}") from e
    except UnicodeDecodeError as e:
        raise InvalidSpec(f"{source}: not text in UTF-8 ({e.reason})") from e


@contextmanager
def _said_of(source: str, rule: str) -> Iterator[None]:
    """Translate the errors of a parser: *source* breaks the *rule*, or is too deep or long."""
    try:
        yield
    except yaml.YAMLError as e:
        raise InvalidSpec(f"{source}: {rule}: {' '.join(str(e).split())}") from e
    except (RecursionError, ValueError) as e:
        raise InvalidSpec(f"{source}: {_BEYOND}") from e


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: it creates only plain data
