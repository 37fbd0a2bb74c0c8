"""The options that every benchmark has."""

from __future__ import annotations

import argparse
from typing import Optional


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
