"""
A job process: runs one attempt at one job, from an order on standard input to its last event.

    python -m workers.job < order.json

Events go, one JSON object per line, to the file descriptor that `NORMLAB_EVENTS_FD` names
(by default, standard output). All printed output is the job's log. The exit status is 0
if the last event is `finished` or `failed`. Runs on Python 3.8.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import BinaryIO, NoReturn, Optional

from pydantic import ValidationError

from normlab.errors import InvalidSpec, JobStopped
from normlab.specs.devices import DEVICES
from workers.job_errors import CannotLoad, describe, log_end
from workers.job_order import CodeReference, JobOrder
from workers.job_pipes import EventPipe, StopRequest, watch_lifeline
from workers.job_usage import Meter, ProcessUsage
from workers.narration import Narrator


def main(stdin: Optional[BinaryIO] = None) -> int:
    """Read the order, execute it, and report how it ended."""
    stdin = stdin or os.fdopen(0, "rb", closefd=False)
    named = os.environ.get("NORMLAB_EVENTS_FD")
    pipe = EventPipe(int(named) if named else 1)
    stop = StopRequest()
    stop.listen()
    line = stdin.readline()
    try:
        load_code(line)
        order = JobOrder.model_validate_json(line)
    except ValidationError as e:
        pipe.send(describe(InvalidSpec(f"the job process cannot read its order: {e}"), ""))
        return 0
    except CannotLoad as e:
        traceback.print_exc()
        pipe.send(describe(e, ""))
        return 0
    except BaseException as e:  # whatever error a plugin causes, its own process reports it
        traceback.print_exc()
        pipe.send(describe(InvalidSpec(f"{type(e).__name__}: {e}"), ""))
        return 0
    if named:  # a supervisor started this process, and holds its standard input
        watch_lifeline(stdin, stop)
    carry_out(order, pipe, stop)
    return 0


def load_code(order: bytes) -> None:
    """
    Load the plugins that *order* names; its spec, which uses their names, is read afterwards.

    Raises:
        CannotLoad: one needs a package, or a newer Python, that is not here.
        InvalidSpec: one has changed since the job was accepted, or fails in another way.
    """
    named = json.loads(order or b"{}").get("code") or ()
    if not named:
        return
    from normlab.plugins.loading import load, use

    found = []
    for given in map(CodeReference.model_validate, named):
        try:
            found.append(load(Path(given.folder), given.name, given.digest))
        except BaseException as e:
            told = f"the plugin {given.name} cannot be loaded here: {type(e).__name__}: {e}"
            if isinstance(e, (ImportError, SyntaxError)):
                raise CannotLoad(given.digest, told) from e
            raise InvalidSpec(told) from e
    use(found)


def carry_out(order: JobOrder, pipe: EventPipe, stop: StopRequest) -> None:
    """Run *order*; in every case, the last event sent is `finished` or `failed`."""
    try:
        if order.memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (order.memory_bytes, order.memory_bytes))
        Path(order.folder).mkdir(parents=True, exist_ok=True)
        if order.mates:
            _train_together(order, pipe, stop)
        else:
            _train(order, pipe, stop)
    except BaseException as e:
        failed = describe(e, order.folder)
        log_end(e)
        pipe.send(failed)


def _train(order: JobOrder, pipe: EventPipe, stop: StopRequest) -> None:
    # Here, not above: importing torch takes seconds, and a bad order does not need it.
    with stop.answered_by(lambda asked: _leave(asked, order, pipe)):
        if order.spec.replicas > 1 and DEVICES[order.device].collectives is not None:
            from workers.replicas import train_replicas as train
        else:
            from workers.attempt import train
    narrator = Narrator(Meter(pipe.send, ProcessUsage()).send)
    narrator.send(train(order, narrator.send, stop))


def _train_together(order: JobOrder, pipe: EventPipe, stop: StopRequest) -> None:
    # imported late for the same reason; a stop request waits until training has begun
    from workers.pack_job import carry_out_pack

    carry_out_pack(order, pipe, stop)


def _leave(asked: JobStopped, order: JobOrder, pipe: EventPipe) -> NoReturn:
    pipe.send(describe(asked, order.folder))
    os._exit(0)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # everything is reported and on disk; torch's own shutdown takes half a second
