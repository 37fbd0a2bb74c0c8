"""Read a job's specification from a file and from `--set`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.exclusions import SHORT_FOR
from normlab.specs.written import parse, said_of, value_of

if TYPE_CHECKING:
    from normlab.client import Client


def read_spec(source: Optional[str], overrides: Sequence[str]) -> Dict[str, Any]:
    """
    Return the specification that *source* with *overrides* describes.

    Args:
        source: a file of JSON or YAML; `-` for standard input; None for overrides alone.
        overrides: for example `optimizer.lr=0.05`; the value is YAML.

    Raises:
        InvalidSpec: if there is nothing to read, or it is not a mapping.
    """
    if source is None and not overrides:
        raise InvalidSpec(
            "no job was given; give a file, `-` for standard input, or --set FIELD=VALUE"
        )
    spec = {} if source is None else parse(_text(source), source)
    for override in overrides:
        apply_override(spec, override)
    return spec


def apply_override(spec: Dict[str, Any], override: str) -> None:
    """Set one field of *spec*, as `optimizer.lr=0.05` says."""
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise InvalidSpec(f"--set {override}: write FIELD=VALUE, such as --set optimizer.lr=0.05")
    quoted = f"""the value is not YAML; put text into quotes, as in '{path}="..."'"""
    with said_of(f"--set {override[:60]}", quoted):
        value = value_of(text)
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
        raise InvalidSpec(f"{source} is not text in UTF-8 ({e.reason})") from e


_SHA256_DIGITS = 64


def with_whole_ids(client: Client, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Return *spec*, a job or a study, with the whole ids of the jobs that `init_from` names."""
    made = dict(spec)
    if "init_from" in made:
        made["init_from"] = _whole(client, made["init_from"])
    if isinstance(made.get("base"), dict):
        made["base"] = with_whole_ids(client, made["base"])
    if isinstance(made.get("axes"), (list, dict)):
        made["axes"] = _in_axes(client, made["axes"])
    return made


def _in_axes(client: Client, axes: Any) -> Any:
    if isinstance(axes, list):
        return [_in_axes(client, axis) for axis in axes]
    if not isinstance(axes, dict):
        return axes
    named = ("init_from", "init_from.job", "init_from.from")
    return {
        path: [_whole(client, value) for value in values]
        if path in named and isinstance(values, list)
        else values
        for path, values in axes.items()
    }


def _whole(client: Client, named: Any) -> Any:
    from normlab.specs.starting_weights import SUFFIX

    if isinstance(named, str):
        is_job = not named.endswith(SUFFIX) and len(named) != _SHA256_DIGITS
        return client.job_id(named) if is_job else named
    if isinstance(named, dict):
        jobs = ("job", "from")
        return {n: _whole(client, v) if n in jobs else v for n, v in named.items()}
    return named
