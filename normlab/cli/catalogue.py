"""`normlab normalizers`, `models`, `parts` and `devices`: the building blocks of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

import typer

from normlab.cli.completion import kinds, networks, part_names
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json, print_rows, print_table, size
from normlab.errors import NotFound

if TYPE_CHECKING:
    from pydantic import BaseModel

    from normlab.records import DeviceRecord, WorkerRecord
    from normlab.specs.options import OptionRecord


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab normalizers", "normlab normalizers group", "normlab normalizers --json"
    )
)
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
    chosen = next((one for one in found if one.kind == kind), None)
    if chosen is None:
        raise NotFound(
            f"there is no normalizer {kind!r}; use one of {', '.join(n.kind for n in found)}"
        )
    if as_json:
        print_json(chosen)
        return
    print(f"{chosen.title}: {chosen.summary}\n{chosen.source}\n")
    _print_options(chosen.options)


@commands.command(epilog=examples("normlab models", "normlab models --json"))
def models(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Show the options of this network.", show_default=False, autocompletion=networks
    ),
    as_json: bool = AsJson,
) -> None:
    """List the networks; with a name, show the options of a network that a plugin added."""
    columns = ["name", "task", "default_width", "normalizers", "summary"]
    with connect(ctx) as client:
        list_or_one("network", name, client.models(), columns, as_json)


@commands.command(
    epilog=examples("normlab parts", "normlab parts rand_augment", "normlab parts --json")
)
def parts(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Show the options of this part.", show_default=False, autocompletion=part_names
    ),
    as_json: bool = AsJson,
) -> None:
    """List the other parts of a job: tasks, metrics, hooks, optimizers, schedules, augmentations.

    With a name, its options.
    """
    with connect(ctx) as client:
        list_or_one("part", name, client.parts(), ["part", "name", "code", "summary"], as_json)


@commands.command(epilog=examples("normlab devices", "normlab devices --json"))
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
    print()
    runs = [(d.kind, _but(d, found), ", ".join(d.precisions), d.replicas) for d in found]
    print_table(["device", "normalizers", "precisions", "one replica uses"], runs)
    workers = [
        (
            w.id,
            w.address,
            f"{w.busy}/{w.slots}",
            _hardware(w),
            size(w.memory_bytes),
            _versions(w.versions),
        )
        for d in found
        for w in d.workers
    ]
    if workers:
        print()
        print_table(["worker", "address", "busy", "hardware", "memory", "versions"], workers)


def _but(device: DeviceRecord, others: Sequence[DeviceRecord]) -> str:
    # Most devices run all kinds, so it is shorter to list the kinds that a device cannot run.
    every = dict.fromkeys(kind for other in others for kind in other.normalizers)
    missing = [kind for kind in every if kind not in device.normalizers]
    return f"all but {', '.join(missing)}" if missing else f"all {len(every)}"


def _hardware(worker: WorkerRecord) -> str:
    return worker.description if worker.able else f"none: {worker.why}"


def _versions(versions: Dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def list_or_one(
    what: str, name: Optional[str], found: Sequence[Any], columns: List[str], as_json: bool
) -> None:
    """Print the columns of everything that was *found*, or the options of the one called *name*."""
    if name is None:
        _list(found, columns, as_json)
        return
    chosen = next((one for one in found if one.name == name), None)
    if chosen is None:
        there = ", ".join(one.name for one in found)
        if what == "network":
            from normlab.specs.zoo import PATTERNS

            there += f", and {PATTERNS}, which `normlab validate -s model.name=...` looks at"
        raise NotFound(f"no {what} {name!r} is listed; there are {there}")
    if as_json:
        print_json(chosen)
        return
    print(f"{chosen.name}: {chosen.summary}{f' (from {chosen.code})' if chosen.code else ''}\n")
    _print_options(chosen.options)


def _print_options(options: Sequence[OptionRecord]) -> None:
    rows = [
        [o.name, o.type, "required" if o.required else _text(o.default), o.limits(), o.description]
        for o in options
    ]
    print_table(["option", "type", "default", "accepts", "meaning"], rows)


def _list(found: Sequence[BaseModel], columns: List[str], as_json: bool) -> None:
    rows = [[_text(getattr(one, name)) for name in columns] for one in found]
    print_rows(found, as_json, columns, rows)


def _text(value: Any) -> Any:
    convert: Dict[type, Callable[[Any], Any]] = {
        bool: lambda v: "yes" if v else "no",
        list: lambda v: ", ".join(map(str, v)),
        dict: str,
    }
    return convert.get(type(value), lambda v: v)(value)
