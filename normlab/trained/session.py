"""
Open Python with the trained network of a job as `model`, and with `data` and `job`.

    python -m normlab.trained.session 3 3<order.json

The order, which is read from the file descriptor that the argument names, has url, token,
certificate, job, data_root, trust_code and json. Standard input is for Python.
Before the first prompt, the network is evaluated, and its metrics are printed next to the metrics
in the job's record.
"""

from __future__ import annotations

import code
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict

from normlab.client import Client
from normlab.errors import NormlabError
from normlab.records import JobDetail
from normlab.trained import Loaded, load

_FAILED = 2


def main() -> int:
    """Read the order, load, and run the prompt until the input ends."""
    with os.fdopen(int(sys.argv[1])) as given:
        order: Dict[str, Any] = json.load(given)
    root = Path(order["data_root"]) if order["data_root"] else None
    try:
        with Client(order["url"], order["token"], certificate=order["certificate"]) as client:
            job = client.get(order["job"])
            found = load(job.id, client=client, data_root=root, trust_code=order["trust_code"])
    except NormlabError as e:
        print("normlab:", " ".join(str(e).split()), file=sys.stderr)
        return _FAILED
    numbers = _numbers(job, found)
    if order["json"]:
        print(json.dumps(numbers))
        return 0
    names = {"model": found.model, "data": found.data, "job": job}
    code.interact(banner=_told(job, numbers), local=names, exitmsg="")
    return 0


def _numbers(job: JobDetail, found: Loaded) -> Dict[str, Dict[str, Any]]:
    return {
        name: {"here": value, "recorded": job.last[name].number() if name in job.last else None}
        for name, value in found.data.evaluate(found.model).items()
    }


def _told(job: JobDetail, numbers: Dict[str, Dict[str, Any]]) -> str:
    lines = [f"{job.model} with {job.normalizer}, trained by job {job.id}; here and in its record:"]
    lines += [f"  {name}  {n['here']!r}  {n['recorded']!r}" for name, n in numbers.items()]
    lines.append(
        "model: the network; data: its test set, with data.evaluate(model); job: its record"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
