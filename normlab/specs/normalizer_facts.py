"""Write the facts that the specs contain into `docs/normalizers.md` (run with `python -m`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, List

from normlab.specs.normalizers import BY_KIND

PAGE = Path("docs/normalizers.md")
_BLOCK = "<!-- facts: {name} -->\n{text}\n<!-- end of facts -->"
_MARKED = re.compile(r"<!-- facts: (\w+) -->\n.*?<!-- end of facts -->", re.S)


def properties() -> str:
    """Return the table of the properties of each kind."""
    lines = [
        "| kind | acts on | batch-independent | channels normalized | keeps expressivity | state "
        "| takes `proxy` | IPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, spec in BY_KIND.items():
        cells = [
            f"[`{kind}`](#{kind})",
            spec.acts_on,
            _yes(not spec.batch_dependent),
            _yes(spec.channelwise),
            _yes(spec.keeps_expressivity),
            _yes(spec.stateful),
            _yes("proxy" in spec.model_fields),
            _yes(spec.runs_on_ipu),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def options(kind: str) -> str:
    """Return source, IPU verdict and options of *kind*; the proxy's are told once for all."""
    spec = BY_KIND[kind]
    verdict = "yes" if spec.runs_on_ipu else "no"
    lines = [f"Source: {spec.source}. IPU: {verdict}, {spec.ipu_reason}.", ""]
    rows = [row for name in spec.model_fields for row in _option(spec, name)]
    if rows:
        lines += ["| option | default | allowed | meaning |", "|---|---|---|---|", *rows]
    else:
        lines.append("No options.")
    return "\n".join(lines)


def _option(spec: Any, name: str) -> List[str]:
    field = spec.model_fields[name]
    if name == "kind" or name.startswith("proxy_") or name == "quadrature":
        return []
    default = "null" if field.default is None else str(field.default).lower()
    meaning = str(field.description)
    return [f"| `{name}` | `{default}` | {_allowed(spec, name)} | {meaning} |"]


def _allowed(spec: Any, name: str) -> str:
    schema = spec.model_json_schema()["properties"][name]
    branches = schema.get("anyOf", [schema])
    return " or ".join(_range(branch) for branch in branches)


def _range(schema: Any) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] in ("boolean", "null"):
        return "true, false" if schema["type"] == "boolean" else "null"
    signs = (
        ("exclusiveMinimum", "> "),
        ("minimum", "≥ "),
        ("exclusiveMaximum", "< "),
        ("maximum", "≤ "),
    )
    limits = [f"{sign}{schema[key]:g}" for key, sign in signs if key in schema]
    return f"{schema['type']} {', '.join(limits)}".strip()


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def fill(page: str) -> str:
    """Return *page* with every marked block of facts up to date."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        whole = {"properties": properties, "proxy": proxy_options}
        text = whole[name]() if name in whole else options(name)
        return _BLOCK.format(name=name, text=text)

    return _MARKED.sub(replace, page)


def proxy_options() -> str:
    """Return the options that every kind with an affine shares under `proxy`."""
    spec: Any = BY_KIND["group"]
    names = ("proxy_eps", "quadrature", "proxy_weight_decay")
    rows = [
        f"| `{n}` | `{spec.model_fields[n].default}` | {_allowed(spec, n)} | "
        f"{spec.model_fields[n].description} |"
        for n in names
    ]
    return "\n".join(["| option | default | allowed | meaning |", "|---|---|---|---|", *rows])


def main() -> None:
    """Write the facts into the page named on the command line, or into the project's own."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
