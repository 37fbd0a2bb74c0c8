"""Write the facts that the specs contain into `docs/normalizers.md` (run with `python -m`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from normlab.specs.normalizers import BY_KIND
from normlab.specs.options import OptionRecord, options

PAGE = Path("docs/normalizers.md")
_BLOCK = "<!-- facts: {name} -->\n{text}\n<!-- end of facts -->"
_OF_THE_PROXY = ("proxy_eps", "quadrature", "proxy_weight_decay")
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


def options_of(kind: str) -> str:
    """Return source, IPU verdict and options of *kind*; the proxy's are told once for all."""
    spec = BY_KIND[kind]
    verdict = "yes" if spec.runs_on_ipu else "no"
    lines = [f"Source: {spec.source}. IPU: {verdict}, {spec.ipu_reason}.", ""]
    rows = [_row(option) for option in options(spec) if option.name not in _OF_THE_PROXY]
    if rows:
        lines += ["| option | default | allowed | meaning |", "|---|---|---|---|", *rows]
    else:
        lines.append("No options.")
    return "\n".join(lines)


def _row(option: OptionRecord) -> str:
    default = "null" if option.default is None else str(option.default).lower()
    return f"| `{option.name}` | `{default}` | {_allowed(option)} | {option.description} |"


def _allowed(option: OptionRecord) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.type == "boolean":
        return "true, false"
    return f"{option.type} {option.limits()}" + (" or null" if option.nullable else "")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def fill(page: str) -> str:
    """Return *page* with every marked block of facts up to date."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        whole = {"properties": properties, "proxy": proxy_options}
        text = whole[name]() if name in whole else options_of(name)
        return _BLOCK.format(name=name, text=text)

    return _MARKED.sub(replace, page)


def proxy_options() -> str:
    """Return the options that every kind with an affine shares under `proxy`."""
    rows = [_row(option) for option in options(BY_KIND["group"]) if option.name in _OF_THE_PROXY]
    return "\n".join(["| option | default | allowed | meaning |", "|---|---|---|---|", *rows])


def main() -> None:
    """Write the facts into the page named on the command line, or into the project's own."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
