"""Find a stack for a long command: the named one, a running one, or a new one."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Dict, Iterator

import typer

from normlab.cli.connecting import Address, connect, data_dir_of
from normlab.cli.own_stack import own_stack
from normlab.connection import forget_connection
from normlab.errors import NormlabError
from normlab.running_stacks import running_stack

if TYPE_CHECKING:
    from normlab.client import Client


@contextmanager
def any_stack(ctx: typer.Context) -> Iterator[Client]:
    """
    Yield a client for the API that the command line names, or for a stack started for this command.

    A new stack uses the user's data folder, so that its results are available the next time.
    """
    address: Address = ctx.find_root().obj
    if address.url is not None or _answers(address):
        with connect(ctx) as client:
            yield client
        return
    from normlab.client import Client

    data_dir = data_dir_of(address)
    forget_connection(data_dir)  # left by a killed stack
    settings = _settings()
    slots = settings["NORMLAB_SLOTS"]
    print(
        f"no stack is running: starting one with {slots} slots in {data_dir}",
        file=sys.stderr,
        flush=True,
    )
    with own_stack(data_dir, settings) as own, Client(own.url, own.token) as client:
        yield client


def _answers(address: Address) -> bool:
    found = running_stack(data_dir_of(address))
    if found is None:
        return False
    from normlab.client import Client

    left = found.connection
    try:
        with Client(left.url, left.token, tries=1, timeout_s=10.0) as client:
            client.devices()
    except NormlabError:
        return False
    return True


def _settings() -> Dict[str, str]:
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    wished = {"NORMLAB_PORT": "0", "NORMLAB_HOST": "127.0.0.1", "NORMLAB_SLOTS": cores}
    return {name: os.environ.get(name, value) for name, value in wished.items()}
