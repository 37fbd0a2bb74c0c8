"""
Try to load plugins: `python -m workers.trial < references.json`, in the interpreter of jobs.

Standard input is a JSON list of `CodeReference`; the last line of the output is a JSON object that
says for each digest why it cannot be loaded, or "". Each plugin is loaded in its own fork with
limited time, so that a bad one does not affect others. Runs on Python 3.8.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

from normlab.host.processes import Forks
from normlab.plugins.loading import load
from workers.job_order import CodeReference

WITHIN_S = 60.0
_SAID = 300  # bytes of a reason
_LOADED = "+"


def main() -> int:
    """Read the references, and print the result of each."""
    named = [CodeReference.model_validate(one) for one in json.load(sys.stdin)]
    importlib.import_module("torch")  # once, for all forks
    forks = Forks()
    print(json.dumps({one.digest: _tried(forks, one) for one in named}))
    return 0


def _tried(forks: Forks, plugin: CodeReference) -> str:
    read, write = os.pipe()
    child = forks.start(lambda: _load(plugin, write), WITHIN_S)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        while child not in forks.ended():
            time.sleep(0.02)
        said = answer.read().decode(errors="replace")
    if said == _LOADED:
        return ""
    return said or "its code ended the process that loaded it, or took too long"


def _load(plugin: CodeReference, write: int) -> int:
    os.dup2(2, 1)  # its output is not an answer
    try:
        load(Path(plugin.folder), plugin.name, plugin.digest)
    except BaseException as e:  # a plugin may also call sys.exit
        os.write(write, f"{type(e).__name__}: {e}".encode()[:_SAID])
    else:
        os.write(write, _LOADED.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
