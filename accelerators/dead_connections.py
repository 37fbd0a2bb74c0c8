"""Let the kernel find out which connections of this process lead nowhere any more."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

AFTER_S = 15
"""Without an answer of the other host for this time, a connection is closed."""
_PROBE_S = 5


def notice_dead_connections() -> None:
    """
    Close each TCP connection that is open now once its other end is silent for `AFTER_S`.

    A host that loses its power or its network closes nothing, and neither gloo nor torch's store
    asks whether the other end is still there. Connections that a fork has inherited are the same
    ones in its parent. Does nothing where the system is not Linux.
    """
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # it is no socket, no connection, or closed by now
                _watch(int(name))


def _watch(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as copy:
        if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.type != socket.SOCK_STREAM:
            return
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_S)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, AFTER_S // _PROBE_S - 1)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, AFTER_S * 1000)
