"""`normlab normalizers`, `models`, `datasets` and `devices`: what a job can be made of."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import typer

from normlab.cli.completion import kinds
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json, print_table, size
from normlab.errors import NotFound


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command(
        epilog=examples(
            "normlab normalizers", "normlab normalizers group", "normlab normalizers --json"
        )
    )(normalizers)
    app.command(epilog=examples("normlab models", "normlab models --json"))(models)
    app.command(epilog=examples("normlab datasets", "normlab datasets --json"))(datasets)
    app.command(epilog=examples("normlab devices", "normlab devices --json"))(devices)


def normalizers(
    ctx: typer.Context,
    kind: Optional[str] = typer.Argument(
        None, help="Show the options of this kind.", autocompletion=kinds, show_default=False
    ),
    as_json: bool = AsJson,
) -> None:
    """List the kinds of normalizer; with a kind, its options, defaults and ranges."""
    with connect(ctx) as client:
        found = client.normalizers()
    if kind is None:
        _list(found, ["kind", "title", "source"], as_json)
        return
    chosen = [one for one in found if one["kind"] == kind]
    if not chosen:
        raise NotFound(f"no normalizer {kind!r}; there are {', '.join(n['kind'] for n in found)}")
    if as_json:
        print_json(chosen[0])
        return
    print(f"{chosen[0]['title']} ({chosen[0]['source']})\n")
    _list(chosen[0]["options"], ["name", "default", "range", "description"], as_json=False)


def models(ctx: typer.Context, as_json: bool = AsJson) -> None:
    """List the networks."""
    with connect(ctx) as client:
        _list(client.models(), ["name", "default_width", "summary"], as_json)


def datasets(ctx: typer.Context, as_json: bool = AsJson) -> None:
    """List the datasets and what is missing of them."""
    columns = ["name", "available", "num_classes", "train_size", "test_size", "summary"]
    with connect(ctx) as client:
        _list(client.datasets(), columns, as_json)


def devices(ctx: typer.Context, as_json: bool = AsJson) -> None:
    """List the kinds of device and the workers that serve them now."""
    with connect(ctx) as client:
        found = client.devices()
    if as_json:
        print_json(found)
        return
    kinds_of_device = [
        (d.kind, "yes" if d.available else "no", d.queued, d.running, d.reason) for d in found
    ]
    print_table(["device", "available", "queued", "running", "why"], kinds_of_device)
    workers = [
        (w.id, w.device, f"{w.busy}/{w.slots}", w.description, size(w.memory_bytes), w.last_seen_s)
        for d in found
        for w in d.workers
    ]
    if workers:
        print()
        columns = ["worker", "device", "busy", "hardware", "memory", "seen s ago"]
        print_table(columns, workers)


def _list(found: List[Dict[str, Any]], columns: List[str], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    shown = [name for name in columns if any(name in one for one in found)]
    print_table(shown, [[_text(one.get(name)) for name in shown] for one in found])


def _text(value: Any) -> Any:
    convert: Dict[type, Callable[[Any], Any]] = {
        bool: lambda v: "yes" if v else "no",
        list: lambda v: ", ".join(map(str, v)),
        dict: str,
    }
    return convert.get(type(value), lambda v: v)(value)
