"""Forms of output for programs: JSON, YAML and CSV, chosen by `--output`, or `--json`."""

from __future__ import annotations

import csv
import inspect
import io
import json
from contextvars import ContextVar
from enum import Enum
from functools import wraps
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import typer

from normlab.not_finite import FIELD, taken_out


class Form(str, Enum):
    """What a list or a record is printed as."""

    table = "table"
    json = "json"
    yaml = "yaml"
    csv = "csv"


_chosen: ContextVar[Form] = ContextVar("form of the output", default=Form.json)
_IN_CONTEXT = "normlab.form"


def _choose(ctx: typer.Context, form: Optional[Form]) -> Optional[Form]:
    ctx.meta[_IN_CONTEXT] = form
    return form


def _for_programs(ctx: typer.Context, as_json: bool) -> bool:
    form = ctx.meta.get(_IN_CONTEXT)
    for_programs = choose(form or Form.json)
    return as_json if form is None else for_programs


AsJson = typer.Option(False, "--json", callback=_for_programs, help="Print JSON for programs.")
Output = typer.Option(
    None,
    "--output",
    "-o",
    callback=_choose,
    is_eager=True,  # must come before --json, whose callback reads it
    help="table, json, yaml or csv.",
    show_choices=False,
    metavar="FORM",
)


def with_forms(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return *command* with `--output` beside its `--json`, also as `-o` if that is free."""
    signature = inspect.signature(command)
    options = list(signature.parameters.values())
    taken = any("-o" in (getattr(one.default, "param_decls", None) or ()) for one in options)
    if taken or all(one.default is not AsJson for one in options):
        return command

    @wraps(command)
    def answering(*given: Any, output: Optional[Form] = None, **named: Any) -> Any:
        return command(*given, **named)

    form = inspect.Parameter("output", inspect.Parameter.KEYWORD_ONLY, default=Output)
    facts = vars(answering)  # typer reads these
    facts["__signature__"] = signature.replace(parameters=[*options, form])
    answering.__annotations__ = {**command.__annotations__, "output": Optional[Form]}
    return answering


def choose(form: Form) -> bool:
    """Choose this *form* for the output, and return whether it is one for programs."""
    _chosen.set(Form.json if form is Form.table else form)
    return form is not Form.table


def chosen() -> Form:
    """Return the form for programs that the command line asks for; JSON by default."""
    return _chosen.get()


def text_of(plain: Any, rows: Any = None, columns: Sequence[str] = ()) -> str:
    """
    Return *plain* data in the form that the command line asks for.

    Args:
        rows: the same as a list of records, for CSV; None if *plain* is such a list.
        columns: the header of a CSV without rows.
    """
    form = _chosen.get()
    if form is Form.yaml:
        import yaml

        text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        return text.rstrip("\n")
    if form is Form.csv:
        return _csv(plain if rows is None else rows, columns)
    return json.dumps(taken_out(plain), indent=2, ensure_ascii=False)


def _csv(plain: Any, of_none: Sequence[str]) -> str:
    """Return one row per record and one column per path; lists in a cell are JSON."""
    from normlab.presentation.columns import plain_cell

    rows = [dict(_flat(one)) for one in (plain if isinstance(plain, list) else [plain])]
    columns = list(dict.fromkeys(name for row in rows for name in row)) if rows else of_none
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain_cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue().rstrip("\n")


def _flat(value: Any, above: str = "") -> Iterator[Tuple[str, Any]]:
    if not isinstance(value, dict):
        yield above or "value", json.dumps(taken_out(value)) if isinstance(value, list) else value
        return
    fields: Dict[str, Any] = value
    for name, below in fields.items():
        if name == FIELD:  # cells contain NaN and infinity as such
            continue
        yield from _flat(below, f"{above}.{name}" if above else str(name))
