"""A terminal of so many columns: commands run in it as at a keyboard, and its screen is read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape

import pyte

_PATIENCE_S = 120.0  # a busy machine is slow, which is not a failure of the commands
_AGAIN_S = 10.0  # longer than a completion takes, on a busy machine too
_LOOK_S = 0.2


class Terminal:
    """
    A screen with a shell behind it.

    Args:
        columns: its width in characters.
        rows: its height.
        environment: of the shell.
    """

    def __init__(self, columns: int, rows: int, environment: Mapping[str, str]) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        told = {"TERM": "xterm-256color", "PS1": "$ ", "LANG": "C.UTF-8", **environment}
        shell = ["bash", "--norc", "--noprofile", "-i"]
        self._shell = subprocess.Popen(
            shell, stdin=theirs, stdout=theirs, stderr=theirs, env=told, start_new_session=True
        )
        os.close(theirs)
        self.wait_for(r"\$ $")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        os.close(self._mine)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._mine, text.encode())

    def complete(self, typed: str, pattern: str) -> None:
        """
        Type *typed* and press Tab until *pattern* is found.

        A completion waits less than a second for the service, so that the keys of a person are not
        held up: on a busy machine it may have nothing to offer, and a person presses Tab again.
        """
        self.type(typed)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            self.type("\t")
            with suppress(TimeoutError):
                self.wait_for(pattern, within_s=_AGAIN_S)
                return
        raise TimeoutError(f"no {pattern!r} in {self.lines()}")

    def run(self, command: str) -> list[str]:
        """Type *command*, wait for its end, and return the lines that it printed."""
        before = len(self.lines())
        self.type(f"{command}\n")
        self.wait_for(r"\n\$ $", after=before)
        return self.lines()[before:-1]

    def wait_for(self, pattern: str, after: int = 0, within_s: float = _PATIENCE_S) -> str:
        """Return what is on the screen once *pattern* is found in it, behind so many lines."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if select.select([self._mine], [], [], _LOOK_S)[0]:
                self._stream.feed(os.read(self._mine, 65_536))
            said = "\n".join(["", *self.lines()[after:]])
            if re.search(pattern, said):
                return said
        raise TimeoutError(f"no {pattern!r} in {self.lines()}")

    def lines(self) -> list[str]:
        """Return all lines up to the cursor, those that have left the screen too."""
        text = ["".join(_characters(row, self.screen.columns)) for row in self._rows()]
        return [*(line.rstrip() for line in text[:-1]), text[-1][: self.screen.cursor.x]]

    def html(self, palette: Mapping[str, str]) -> str:
        """Return the lines as HTML; *palette* has the colours of this terminal by name."""
        return "\n".join(_html(row, self.screen.columns, palette) for row in self._rows())

    def _rows(self) -> Sequence[Mapping[int, pyte.screens.Char]]:
        shown = [self.screen.buffer[y] for y in range(self.screen.cursor.y + 1)]
        return [*self.screen.history.top, *shown]


def _characters(row: Mapping[int, pyte.screens.Char], columns: int) -> list[str]:
    return [row[x].data for x in range(columns)]


def _html(row: Mapping[int, pyte.screens.Char], columns: int, palette: Mapping[str, str]) -> str:
    cells = []
    for x in range(columns):
        weight = "; font-weight: bold" if row[x].bold else ""
        colour = palette.get(row[x].fg, "inherit")
        cells.append(f'<i style="color: {colour}{weight}">{escape(row[x].data)}</i>')
    return "".join(cells)
