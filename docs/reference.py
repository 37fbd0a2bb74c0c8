"""Generate the reference pages from the code: `python docs/reference.py`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from api.main import create_app
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.specs.options import OptionRecord, options
from normlab.specs.studies import StudySpec
from service.settings import Settings

FOLDER = Path(__file__).parent / "reference"
_NO_DATABASE = (
    "postgresql://nobody@127.0.0.1:1/none"  # describing the interface needs no connection
)


def pages() -> dict[str, str]:
    """Return the pages' texts by their names."""
    return {
        "normalizers.md": "\n".join(_normalizers()),
        "specifications.md": "\n".join(_specifications()),
        "http.md": "\n".join(_http()),
        "commands.md": _commands(),
    }


def _normalizers() -> Iterator[str]:
    yield "# Options of normalizers\n"
    yield 'A job names a kind (`"online"`), or gives its options:'
    yield '`{"kind": "group", "groups": 4}`.'
    yield "[Normalizers](../normalizers.md) has the formulas and sources.\n"
    for kind, spec in BY_KIND.items():
        yield f"## {kind}\n"
        yield from _table(options(spec))


def _specifications() -> Iterator[str]:
    yield "# Fields of a job and a study\n"
    for title, model in (("Job", JobSpec), ("Study", StudySpec)):
        schema = model.model_json_schema()
        yield f"## {title}\n"
        yield from _fields(schema["properties"], set(schema.get("required", ())))
        for name, part in schema.get("$defs", {}).items():
            if "properties" in part and not name.endswith("NormSpec"):
                yield f"### {name}\n"
                yield from _fields(part["properties"], set(part.get("required", ())))


def _fields(properties: Mapping[str, Any], required: set[str]) -> Iterator[str]:
    yield "| field | default | meaning |"
    yield "|---|---|---|"
    for name, field in properties.items():
        default = "required" if name in required else f"`{field.get('default', '...')}`"
        yield f"| `{name}` | {default} | {_cell(field.get('description', ''))} |"
    yield ""


def _table(records: list[OptionRecord]) -> Iterator[str]:
    if not records:
        yield "It has no options.\n"
        return
    yield "| option | default | range | meaning |"
    yield "|---|---|---|---|"
    for option in records:
        default = "required" if option.required else f"`{option.default}`"
        limits = _cell(option.limits()) or option.type
        yield f"| `{option.name}` | {default} | {limits} | {_cell(option.description)} |"
    yield ""


def _http() -> Iterator[str]:
    schema = create_app(Settings(database_url=_NO_DATABASE, broker_url="memory://")).openapi()
    yield "# HTTP interface\n"
    yield f"{schema['info']['description'].strip()}\n"
    yield "A running API serves the same description as OpenAPI at `/openapi.json`.\n"
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"## {method.upper()} {path}\n"
            yield f"{operation.get('description') or operation.get('summary', '')}\n"
            yield from _parameters(operation.get("parameters", []))


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield "| parameter | in | meaning |"
    yield "|---|---|---|"
    for parameter in parameters:
        meaning = _cell(parameter.get("description", ""))
        yield f"| `{parameter['name']}` | {parameter['in']} | {meaning} |"
    yield ""


def _commands() -> str:
    command = [sys.executable, "-m", "typer", "normlab.cli.application", "utils", "docs"]
    done = subprocess.run(
        [*command, "--name", "normlab", "--title", "Command line"],
        capture_output=True,
        text=True,
        check=True,
        cwd=FOLDER.parents[1],
    )
    return done.stdout


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Write every page into the folder beside this file."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
