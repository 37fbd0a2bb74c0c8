"""Serve questions about models: `python -m accelerators.inspection --socket PATH`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> int:
    """Warm up, report readiness, and serve."""
    parser = argparse.ArgumentParser(prog="python -m accelerators.inspection", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="socket to listen on")
    parser.add_argument("--answer-within-s", type=float, default=30.0)
    parser.add_argument(
        "--idle-s", type=float, default=None, help="exit after this many seconds without a question"
    )
    parser.add_argument("--lifeline", action="store_true", help="exit when standard input closes")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads would be missing in every fork
    from accelerators.inspection.library_networks import import_libraries
    from accelerators.inspection.server import InspectionServer, inspect
    from normlab.host.processes import require_one_thread
    from normlab.specs.jobs import JobSpec

    import_libraries()
    inspect(JobSpec(normalizer="group"))  # loads the meta operators, which every answer needs
    require_one_thread()
    os.umask(0o077)
    InspectionServer(
        options.socket, options.answer_within_s, options.idle_s, options.lifeline
    ).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
