"""The process of a pack, seen from the supervision of each member."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from normlab.events import AnyEvent, Failed, Finished
from workers.job_order import JobOrder
from workers.process import JobProcess, Launcher
from workers.reading import Harvest

_LOOK_S = 0.25
_FAREWELL_S = 0.5  # seconds for the process to exit by itself after the last event of all


class PackProcess:
    """
    One process for the orders of several members, each of which has its own supervision.

    The process starts when every member has given its order or is gone. It ends with its last
    member: a member that ends, or is fenced off, leaves the process to the others.

    Args:
        launcher: starts job processes.
        members: the number of members.
    """

    def __init__(self, launcher: Launcher, members: int) -> None:
        self.changed = threading.Condition()
        self.members = members
        self._launcher = launcher
        self._missing = set(range(members))
        self._orders: dict[int, JobOrder] = {}
        self._views: dict[int, MemberProcess] = {}
        self._process: JobProcess | None = None
        self._failure: Exception | None = None
        self._polling = threading.Lock()

    def join(self, member: int, order: JobOrder) -> MemberProcess:
        """Give the order of *member*; return its view of the process, once that has started."""
        with self.changed:
            self._orders[member] = order
            self._arrive(member)
            self.changed.wait_for(lambda: self._process is not None or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            return self._views[member]

    def forgo(self, member: int) -> None:
        """Record that *member* will give no order, unless it already has."""
        with self.changed:
            if member in self._missing:
                self._arrive(member)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        assert self._process is not None
        with self._polling:
            return self._process.poll()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process is not None
        return self._process.pid

    def ask(self, line: str) -> None:
        """Ask the process, or one member in it, to stop."""
        assert self._process is not None
        with self.changed:
            self._process.ask_to_stop(line)

    def kill(self) -> None:
        """Kill the process with all its members."""
        assert self._process is not None
        self._process.kill()

    def leave(self, member: int) -> None:
        """Let the process end with its last member."""
        with self.changed:
            del self._views[member]
            last = not self._views
        if last and self._process is not None:
            self._process.wait(_FAREWELL_S)
            self._process.close()

    def _arrive(self, member: int) -> None:
        self._missing.discard(member)
        if not self._missing and self._orders:
            self._start()
            self.changed.notify_all()

    def _start(self) -> None:
        members = sorted(self._orders)
        first, *mates = (self._orders[member] for member in members)
        try:
            self._process = self._launcher.start(first.model_copy(update={"mates": mates}))
        except OSError as e:
            self._failure = e
            return
        self._views = {m: MemberProcess(self, m, place) for place, m in enumerate(members)}
        places = [self._views[member] for member in members]
        threading.Thread(target=self._pump, args=(places,), name="pack-reader", daemon=True).start()

    def _pump(self, places: list[MemberProcess]) -> None:
        """Give each member its events, and all of them the log."""
        assert self._process is not None
        reader = self._process.reader
        while True:
            ended = reader.ended
            reader.wait(_LOOK_S)
            harvest = reader.take()
            with self.changed:
                for place, view in enumerate(places):
                    own = [e for m, e in zip(harvest.members, harvest.events) if m == place]
                    view.reader.give(own, harvest.log, ended)
                self.changed.notify_all()
            if ended:
                return


class MemberReader:
    """The output of one member, with the methods of `OutputReader`."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._events: list[AnyEvent] = []
        self._log = bytearray()
        self.ended = False

    def give(self, events: list[AnyEvent], log: bytes, ended: bool) -> None:
        """Take the output of the process; the caller holds the lock."""
        self._events += events
        self._log += log
        self.ended = self.ended or ended or any(isinstance(e, (Finished, Failed)) for e in events)

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is data to take, or the member has ended."""
        with self._changed:
            return self._changed.wait_for(
                lambda: bool(self._events or self._log or self.ended), timeout_s
            )

    def take(self) -> Harvest:
        """Take all data that has arrived."""
        with self._changed:
            harvest = Harvest(self._events, bytes(self._log), [0] * len(self._events))
            self._events, self._log = [], bytearray()
        return harvest

    def join(self, timeout_s: float) -> None:
        """Wait until the member has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, timeout_s)


class MemberProcess:
    """The process of a pack, with the methods of `JobProcess`, for one member."""

    def __init__(self, pack: PackProcess, member: int, place: int) -> None:
        self.reader: Any = MemberReader(pack.changed)
        self._pack = pack
        self._member = member
        self._place = place

    @property
    def pid(self) -> int:
        """The number of the process, which is the same for all members."""
        return self._pack.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._pack.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit status; do not wait for a process that other members need."""
        if not self.reader.ended:
            self.reader.join(timeout_s)
        return self.poll()

    def ask_to_stop(self, reason: str) -> None:
        """Ask this member to stop; a drain stops all members, after the same update."""
        self._pack.ask(reason if reason == "drained" else f"{reason} {self._place}")

    def kill(self) -> None:
        """Kill the process if this member has not ended, although it was asked."""
        if not self.reader.ended:
            self._pack.kill()

    def close(self) -> None:
        """Leave the process to the others; ask this member to stop if it still trains."""
        if not self.reader.ended and self.poll() is None:
            self._pack.ask(f"drained {self._place}")
        self._pack.leave(self._member)


class MemberLauncher:
    """Starts a member of a pack; all members share one process."""

    def __init__(self, pack: PackProcess, member: int) -> None:
        self._pack = pack
        self._member = member

    def start(self, order: JobOrder) -> Any:
        """Give *order*, and wait until the process of the pack has started."""
        return self._pack.join(self._member, order)


def in_threads(works: list[Callable[[], None]]) -> None:
    """Do *works* at the same time, and wait for all."""
    threads = [threading.Thread(target=work, name=f"member-{i}") for i, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
