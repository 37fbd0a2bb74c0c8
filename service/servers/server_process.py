"""A server that we start and stop: its process, its user if we are root, and its leftovers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from normlab.errors import ServiceUnavailable
from normlab.private_files import append_privately
from service.servers.children import pause_is_over

START_S = 60.0
STOP_S = 30.0
_LOOK_S = 0.01
# PostgreSQL refuses to run as root. The first of these users that exists runs it.
_SERVER_USERS = ("postgres", "pgserver", "nobody")


@dataclass(frozen=True)
class ServerUser:
    """The user that runs a server if we are root."""

    uid: int
    gid: int


@dataclass
class ServerProcess:
    """A server that runs or ran: if it ended by itself, it may be restarted."""

    name: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals
    log: Path
    start: Callable[[], subprocess.Popen[bytes]] = field(repr=False)
    make_room: Callable[[], None] = field(default=lambda: None, repr=False)
    """Removes files that a crash leaves and that would block a new start."""
    starts: int = 1
    started: float = field(default_factory=time.monotonic)

    @property
    def may_restart(self) -> bool:
        """Whether it has ended, and not so soon that a pause is due first."""
        return self.process.poll() is not None and pause_is_over(self.starts, self.started)

    def restart(self) -> None:
        """Restart a server that has ended, without waiting until it answers."""
        self.starts += 1
        self.started = time.monotonic()
        self.make_room()
        self.process = self.start()

    def stop(self) -> None:
        """Ask it to stop, wait, and kill it if it does not; stopping twice is harmless."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def server_user() -> ServerUser | None:
    """Return the user that runs PostgreSQL: None for our own user, another user if we are root."""
    if os.geteuid() != 0:
        return None
    for name in _SERVER_USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(entry.pw_uid, entry.pw_gid)
    raise ServiceUnavailable(
        f"PostgreSQL does not run as root, and none of the users {', '.join(_SERVER_USERS)} "
        "exists; start normlab as another user, or name a server in NORMLAB_DATABASE_URL"
    )


def launch(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    user: ServerUser | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> ServerProcess:
    """Start *command* in its own session, so that only we handle Ctrl-C."""

    def start() -> subprocess.Popen[bytes]:
        with append_privately(log) as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(),
                cwd="/",
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
            )

    return ServerProcess(name, start(), stop_signal, log, start)


def environment() -> Mapping[str, str]:
    """The part of our environment for a server: nothing that could change its behaviour."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


def wait_until(ready: Callable[[], bool], server: ServerProcess, log: Path) -> None:
    """Wait for *ready*; raise ServiceUnavailable with the log's end if the server ends instead."""
    deadline = time.monotonic() + START_S
    while not ready():
        if server.process.poll() is not None:
            raise ServiceUnavailable(
                f"{server.name} ended while starting; {log} ends:\n{tail(log)}"
            )
        if time.monotonic() > deadline:
            server.stop()
            raise ServiceUnavailable(f"{server.name} was not ready in {START_S:g} s; see {log}")
        time.sleep(_LOOK_S)


def end_leftover(pid_file: Path, program: str, stop_signal: signal.Signals) -> None:
    """Stop the server that a crash left behind, if *pid_file* still names one; remove the file."""
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # The pid may belong to another process by now: ours has its folder as working directory.
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


def socket_folder(data_dir: Path, *, shared: bool) -> Path:
    """
    Make the private folder for a data directory's sockets, with a short enough path.

    A socket's path may have at most 107 bytes, and a data directory's path may be longer.

    Args:
        shared: whether the server's user, and not just ours, needs access.
    """
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    folder = _short_base() / f"normlab-{os.geteuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ServiceUnavailable(f"{folder} belongs to somebody else; remove it and start again")
    folder.chmod(0o711 if shared else 0o700)
    return folder


def _short_base() -> Path:
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if candidate and len(candidate) <= 40 and os.access(candidate, os.W_OK):
            return Path(candidate)
    return Path("/tmp")


def let_through(path: Path, user: ServerUser | None) -> None:
    """Let *user* traverse the folders above *path*, but not list them."""
    if user is None:
        return
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH and folder.stat().st_uid != user.uid:
            folder.chmod(mode | stat.S_IXOTH)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of *log*."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
