"""Start a worker: `python -m workers --device cpu --slots 1`."""

from __future__ import annotations

import argparse
import os
import sys

from normlab.errors import NormlabError
from normlab.specs.devices import KINDS


def main() -> int:
    """Read the arguments, and work until told to stop."""
    options = _parser().parse_args()
    if options.slots is not None:
        os.environ["NORMLAB_SLOTS"] = str(options.slots)
    try:
        from workers.app import NO_DATABASE, app, settings  # this reads the environment
    except NormlabError as e:
        print(e, file=sys.stderr)
        return 2
    if settings.database_url is None:
        print(NO_DATABASE, file=sys.stderr)
        return 2
    app.worker_main(
        [
            "worker",
            f"--queues={options.device}",
            f"--hostname={options.device}-{os.getpid()}@%h",
            "--without-mingle",
            "--without-gossip",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--device", choices=KINDS, default=KINDS[0])
    parser.add_argument(
        "--slots", type=int, help="number of jobs that run at the same time (NORMLAB_SLOTS)"
    )
    return parser


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Shutting down this interpreter takes half a core-second, just when a successor starts.
    os._exit(status)
