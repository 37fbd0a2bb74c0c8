"""Two hosts for tests: network namespaces with a cable between them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FILES = Path("/etc/netns")  # its files replace those of /etc in a namespace


@dataclass(frozen=True)
class Host:
    """A network namespace: the command that starts a process in it, and its address."""

    name: str
    address: str

    @property
    def inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]


class CannotMake(Exception):
    """This machine does not let us make network namespaces; the message says why."""


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Connect two new namespaces that reach each other, and nothing else."""
    if shutil.which("ip") is None:
        raise CannotMake("iproute2 is not installed")
    made = [Host(f"normlab-{os.getpid()}-{n}", f"10.231.7.{n}") for n in (1, 2)]
    try:
        for host in made:
            _ip("netns", "add", host.name)
        ends = [f"nl{os.getpid() % 10**6}{side}" for side in "ab"]
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end in zip(made, ends, strict=True):
            _ip("link", "set", end, "netns", host.name)
            _ip("-n", host.name, "link", "set", end, "name", "cable")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "cable")
            _ip("-n", host.name, "link", "set", "cable", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
        _name(made)
        yield made[0], made[1]
    finally:
        for host in made:
            shutil.rmtree(_FILES / host.name, ignore_errors=True)
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def _name(hosts: list[Host]) -> None:
    # torch looks up the names of its peers, and would wait for a name server
    known = [(f"{start}{host.address}", host.name) for host in hosts for start in ("", "::ffff:")]
    names = "".join(f"{address} {name}\n" for address, name in known)
    for host in hosts:
        folder = _FILES / host.name
        folder.mkdir(parents=True)
        own = f"127.0.0.1 localhost\n{host.address} {platform.node()}\n"
        (folder / "hosts").write_text(own + names)
        (folder / "resolv.conf").write_text("options timeout:1 attempts:1\n")


def cut(host: Host) -> None:
    """Cut the network: no side is notified that the connections are dead."""
    _ip("-n", host.name, "link", "set", "cable", "down")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMake(f"ip {' '.join(words)}: {done.stderr.strip()}")
