"""The command line: `normlab COMMAND`, with one file per group of commands."""

from __future__ import annotations

from normlab.cli.application import main

__all__ = ["main"]
