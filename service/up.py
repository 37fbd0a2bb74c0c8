"""`python -m service.up`: run the stack in this terminal until Ctrl-C."""

from __future__ import annotations

import getpass
import signal
import sys
import time
from shlex import quote
from types import FrameType

from normlab.errors import NormlabError
from normlab.host.private_files import keep_private
from normlab.stacks.running import register_stack
from service import journal
from service.servers.launcher import Stack, launch
from service.settings import Settings

LOOK_S = 0.5
FAILED = 3
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Stopping:
    """The first signal stops the stack in order, the second one immediately."""

    def __init__(self) -> None:
        self.running: Stack | None = None
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked and self.running is not None:  # before this, there is nothing to kill
            print("stopping at once", file=sys.stderr, flush=True)
            self.running.kill()
            return
        self.asked = True
        raise KeyboardInterrupt


def main() -> int:
    """Start, print the address, restart failed parts, stop in order; return the exit code."""
    keep_private()
    journal.configure_for_people()
    stopping = _Stopping()
    try:
        with launch(_of_its_owner(Settings.from_env())) as running:
            stopping.running = running
            register_stack(running.data_dir)
            _say_where(running)
            while True:
                time.sleep(LOOK_S)
                for said in running.mend():
                    print(said, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 0
    except NormlabError as e:
        print(f"normlab: {e}", file=sys.stderr)
        return FAILED


def _of_its_owner(settings: Settings) -> Settings:
    """Let the user who runs this stack upload code to it, as long as no other host can reach it."""
    if settings.allow_code or settings.host not in LOOPBACK:
        return settings
    return settings.model_copy(update={"allow_code": getpass.getuser()})


def _say_where(running: Stack) -> None:
    print(
        f"normlab is up: {running.url}\n"
        f"data and logs: {running.data_dir}\n"
        "Commands of this user find it by themselves; others need these two lines:\n"
        f"export NORMLAB_URL={quote(running.url)}\n"
        f"export NORMLAB_TOKEN={quote(str(running.connection.token))}\n"
        "Ctrl-C stops it: running jobs write a checkpoint and continue at the next start.",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
