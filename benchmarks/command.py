"""
What the command of every benchmark has: its options, and a table as its result.

The table is on the screen, and the same rows are in `.bench/NAME.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

FOLDER = Path(".bench")


def parser_of(doc: Optional[str], rounds: Optional[int] = None) -> argparse.ArgumentParser:
    """Return a parser with --help from a module's *doc*, and --rounds if they can be chosen."""
    description = (doc or "").strip().split("\n", 1)[0]
    parser = argparse.ArgumentParser(description=description)
    if rounds is not None:
        text = "measurements of each, in turn (default: %(default)s); fewer are faster"
        parser.add_argument("--rounds", type=at_least_one, default=rounds, help=text)
    return parser


def at_least_one(text: str) -> int:
    """Read a whole number from 1, for argparse."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: not a whole number from 1")
    return number


def as_measured(rows: Iterable[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return all *rows*, and print each as soon as it is there: a table may take many minutes."""
    found = []
    for row in rows:
        print(", ".join(f"{name} {_text(row[name])}" for name in row), file=sys.stderr, flush=True)
        found.append(row)
    return found


def show(name: str, rows: List[Dict[str, Any]], note: str = "") -> None:
    """Print *rows* with the heading *name* and *note* below, and store them as JSON."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"\n{name}")
    for line in lines:
        cells = (_aligned(cell, width) for cell, width in zip(line, widths))
        print("  ".join(cells).rstrip())
    if note:
        print(note)
    FOLDER.mkdir(exist_ok=True)
    record = {
        "name": name,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "host": f"{platform.machine()}, Python {platform.python_version()}",
        "note": note,
        "rows": rows,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(cell: str, width: int) -> str:
    digit = cell[:1].isdigit() or cell[:1] == "-"
    return cell.rjust(width) if digit else cell.ljust(width)
