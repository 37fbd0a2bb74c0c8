"""The command line: `normlab COMMAND`, one file a group of commands."""

from __future__ import annotations

from normlab.cli.application import main

__all__ = ["main"]
