"""The entry points of a notebook: `normlab.runs(...)` and `with normlab.stack():`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Union

from normlab.client.runs import Runs
from normlab.client.session import Client
from normlab.stacks.addresses import Address, resolve
from normlab.stacks.connection import Connection
from normlab.stacks.own import own_stack
from normlab.stacks.running import running_stack

_open: List[Client] = []  # the stacks that this process has started, the innermost last
_clients: Dict[Connection, Client] = {}


def runs(
    where: Optional[str] = None, *, limit: Optional[int] = None, client: Optional[Client] = None
) -> Runs:
    """
    Return the jobs that a filter finds, in all studies and outside of them, newest first.

    Args:
        where: such as `study = small-batches and lr < 0.2`; the language of lists of jobs.
        limit: the largest number of jobs; None: all.
        client: the client of a stack; None for the innermost open `normlab.stack()`, or else this
            user's running stack on this machine.

    Raises:
        InvalidSpec: the filter is wrong; the message says where.
        ServiceUnavailable: no stack is given, and none runs here.
    """
    return Runs(client or _usual(), where, limit)


@contextmanager
def stack(data_dir: Union[str, Path, None] = None, **settings: Union[str, int]) -> Iterator[Client]:
    """
    Run a stack while the context is open, and give a client of it.

    Args:
        data_dir: where its database, jobs and logs stay; a stack that runs there already is used,
            and left running. None: a temporary folder, which is deleted at the end.
        settings: environment variables of `normlab up` without NORMLAB_, such as slots=2.

    Raises:
        InvalidSpec: this installation has only the client.
        ServiceUnavailable: the stack does not start; the message has its output.
    """
    with ExitStack() as opened:
        if data_dir is None:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="normlab-")))
        else:
            folder = Path(data_dir).expanduser()
        found = running_stack(folder)
        wished = {f"NORMLAB_{name.upper()}": str(value) for name, value in settings.items()}
        chosen = {"NORMLAB_PORT": "0", "NORMLAB_HOST": "127.0.0.1", **wished}
        connection = found.connection if found else opened.enter_context(own_stack(folder, chosen))
        client = opened.enter_context(Client.of(connection))
        _open.append(client)
        opened.callback(_open.remove, client)
        yield client


def _usual() -> Client:
    if _open:
        return _open[-1]
    found = resolve(Address(None, None))
    if found not in _clients:
        _clients[found] = Client.of(found)
    return _clients[found]
