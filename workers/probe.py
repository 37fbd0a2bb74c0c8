"""
Describe a device, and the packages of its jobs, as a line of JSON: `python -m workers.probe cpu`.

It runs in a separate process, in the interpreter of the device's jobs, because a worker
never imports torch. Runs on Python 3.8.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Dict

from normlab.errors import JobError
from normlab.host.provenance import provenance
from normlab.specs.jobs import JobSpec
from normlab.specs.zoo import LIBRARIES


def main() -> int:
    """Print the description of the device that the first argument names."""
    from accelerators import open_accelerator

    kind = sys.argv[1]
    spec = JobSpec.model_validate({"normalizer": "batch", "device": kind})
    try:
        found = dataclasses.asdict(open_accelerator(kind, spec).probe())
        found["versions"].update(_libraries())
    except JobError as e:
        found = {"available": False, "reason": str(e), "description": kind, "memory_bytes": None}
    seen = provenance()
    found["packages"] = {**seen["packages"], "python": seen["python"]}
    print(json.dumps(found))
    return 0


def _libraries() -> Dict[str, str]:
    """Return the versions of the libraries of networks that are installed here."""
    installed = provenance()["packages"]
    wanted = [library.package for library in LIBRARIES.values()]
    return {name: installed[name] for name in wanted if name in installed}


if __name__ == "__main__":
    sys.exit(main())
