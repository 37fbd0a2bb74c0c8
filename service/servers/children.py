"""Child processes: this process starts, restarts and stops them, and each logs to a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from normlab.errors import ServiceUnavailable
from normlab.host.private_files import append_privately
from normlab.host.processes import die_with_parent
from service.servers.server_user import ServerUser, popen_options
from service.store.database import START_S

STOP_S = 30.0
LOG_KEPT_BYTES = 16 << 20
TAIL_BYTES = 2000
LONGEST_PAUSE_S = 30
_LOOK_S = 0.01
_log = structlog.get_logger(__name__)


@dataclass
class Child:
    """A process in a session of its own, so that Ctrl-C reaches it only through us."""

    name: str
    """Its name in messages."""
    command: Sequence[str]
    environment: Mapping[str, str]
    """The whole environment."""
    log: Path
    """The file for its output."""
    user: ServerUser | None = None
    """The user that runs it; None: the user of this process."""
    stop_signal: signal.Signals = signal.SIGTERM
    dies_with_us: bool = True
    """Whether it gets SIGTERM when this process dies in any way."""
    make_room: Callable[[], object] = field(default=lambda: None, repr=False)
    """Removes what a crash has left behind and would prevent a start."""
    cwd: Path | None = None
    starts: int = field(default=0, init=False)
    started: float = field(default=0.0, init=False)
    process: subprocess.Popen[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """
        Start it, again if it has ended, and do not wait until it answers.

        Raises:
            ServiceUnavailable: the system refuses to start it, for example because there is no such
                program.
        """
        self.started = time.monotonic()  # before, so that a failed start is followed by a pause too
        self.make_room()
        _keep_one_old(self.log)
        self.starts += 1
        try:
            self.process = self._start()
        except (OSError, subprocess.SubprocessError) as e:
            raise ServiceUnavailable(
                f"{self.name} cannot be started with {self.command[0]} ({e}); see that the program "
                "is there and may be run, and that memory and disk are not full"
            ) from e

    def _start(self) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        with append_privately(self.log) as out:
            return subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.cwd,
                preexec_fn=_follow(parent) if self.dies_with_us else None,
                **popen_options(self.user),
            )

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    @property
    def may_restart(self) -> bool:
        """Whether it has ended and the pause before the next start is over."""
        pause = min(LONGEST_PAUSE_S, self.starts - 1)
        return not self.running and time.monotonic() - self.started > pause

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait for *ready*; raise ServiceUnavailable with the log's end if it ends instead."""
        deadline = time.monotonic() + START_S
        while not ready():
            if not self.running:
                raise ServiceUnavailable(
                    f"{self.name} ended while starting; {self.log} ends:\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise ServiceUnavailable(
                    f"{self.name} was not ready in {START_S:g} s; see {self.log}"
                )
            time.sleep(_LOOK_S)

    def stop(self, grace_s: float = STOP_S) -> None:
        """Ask it to end, wait, and end it if it does not; stopping twice is harmless."""
        if self.running:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process and everything that it started in its session."""
        with contextlib.suppress(ProcessLookupError):  # it had ended already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def tail(self) -> str:
        """Return the end of its log."""
        try:
            text = self.log.read_bytes()[-TAIL_BYTES:]
        except FileNotFoundError:
            return ""
        return text.decode(errors="replace").strip()


def server_environment() -> Mapping[str, str]:
    """Return our environment variables for a server: none that could change its behaviour."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


def restart_ended(children: Sequence[Child]) -> list[Child]:
    """Restart the *children* that have ended; return them, even those that did not start."""
    ended = [child for child in children if child.may_restart]
    for child in ended:
        _log.error("child ended", child=child.name, exit=child.process.returncode)
        try:
            child.restart()
        except (OSError, ServiceUnavailable) as e:  # the next round tries again
            _log.error("child does not start", child=child.name, reason=str(e))
    return ended


def end_leftover(pid_file: Path, program: str, stop_signal: signal.Signals) -> None:
    """End the server that a crash left behind, if *pid_file* still names one; remove the file."""
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # Another process may have this number by now; our server runs in its data folder.
        if process.name() == program and Path(process.cwd()) == pid_file.parent.resolve():
            process.send_signal(stop_signal)
            _outlive(process)
    pid_file.unlink(missing_ok=True)


def _outlive(process: psutil.Process) -> None:
    try:
        process.wait(STOP_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)


def _follow(parent: int) -> Callable[[], None]:
    return lambda: die_with_parent(parent, signal.SIGTERM)


def _keep_one_old(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
        log.replace(log.with_suffix(".log.old"))
