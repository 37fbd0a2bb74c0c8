"""Processes that work in turns of milliseconds, so that other work slows all of them equally."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, Callable, Dict, Mapping, NamedTuple, Protocol

from normlab.host.processes import die_with_parent

_FORK = multiprocessing.get_context("fork")  # all of them have the modules imported here


class TurnResult(NamedTuple):
    """The time of a process for its work in its own turns, and the result of the work."""

    wall_s: float
    cpu_s: float  # of all its threads
    result: Any


class Counting(Protocol):
    """The calls that a training makes when it starts and before each update."""

    def start(self) -> None:
        """Count from here."""

    def __call__(self) -> None:
        """Record that an update begins."""


class ProcessTurn:
    """
    The turn of one process; its work calls this object between two pieces.

    Args:
        parent: the connection on which turns begin and end.
        pieces: the number of pieces in one turn.
    """

    def __init__(self, parent: Connection, pieces: int) -> None:
        self._parent = parent
        self._pieces = pieces
        self._done = 0
        self._wall_s = self._cpu_s = 0.0
        self._began = (0.0, 0.0)

    def start(self) -> None:
        """Wait until the others are ready too, then count from here."""
        self._pass_on()
        self._done, self._wall_s, self._cpu_s = 0, 0.0, 0.0

    def __call__(self) -> None:
        """Let the others work if the pieces of this turn are done."""
        self._done += 1
        if self._done % self._pieces == 0:
            self._pass_on()

    def do(self, work: Callable[[ProcessTurn], Any]) -> None:
        """Do *work* in this process's turns, and send its time to the parent."""
        self._wait()
        result = work(self)
        self._count()
        self._parent.send(TurnResult(self._wall_s, self._cpu_s, result))

    def _pass_on(self) -> None:
        self._count()
        self._parent.send(None)
        self._wait()

    def _wait(self) -> None:
        self._parent.recv()
        self._began = (time.perf_counter(), time.process_time())

    def _count(self) -> None:
        self._wall_s += time.perf_counter() - self._began[0]
        self._cpu_s += time.process_time() - self._began[1]


Work = Callable[[ProcessTurn], Any]


def in_turns(works: Mapping[str, Work], pieces: int) -> Dict[str, TurnResult]:
    """
    Do each of *works* in its own process, *pieces* of each in turn; return the time of each.

    They should have equally many pieces: when the others have ended, the last works alone.

    Raises:
        SystemExit: one of them failed; its traceback is on standard error.
    """
    spent: Dict[str, TurnResult] = {}
    with ExitStack() as stack:
        working = {
            name: stack.enter_context(_started(work, pieces)) for name, work in works.items()
        }
        turn = 0
        while working:
            # In both orders, because after a process with one thread the other core is asleep.
            order = list(working.items())
            turn += 1
            for name, child in order if turn % 2 else order[::-1]:
                child.send(None)
                try:
                    answer = child.recv()
                except EOFError as e:
                    raise SystemExit(f"{name}: its process ended before its work") from e
                if answer is not None:
                    spent[name] = answer
                    del working[name]
    return {name: spent[name] for name in works}


def _started(work: Work, pieces: int) -> Connection:
    ours, theirs = _FORK.Pipe()
    _FORK.Process(target=_be_child, args=(work, ours, theirs, pieces), daemon=True).start()
    theirs.close()
    return ours


def _be_child(work: Work, ours: Connection, theirs: Connection, pieces: int) -> None:
    ours.close()
    die_with_parent()
    ProcessTurn(theirs, pieces).do(work)
