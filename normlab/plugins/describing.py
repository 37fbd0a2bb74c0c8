"""
Describe plugins in processes of their own: nothing that a plugin does reaches who asks.

    python -m normlab.plugins.describing FOLDER...

writes FOLDER.json for each: the description, or the error with its traceback. One process imports
torch, and forks for each plugin, with limited time and memory.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Dict, List, Sequence, Union

from normlab.host.processes import Forks, die_with_parent
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.sources import Source

WITHIN_S = 30.0  # for one plugin
START_WITHIN_S = 120.0  # importing torch takes seconds, and minutes on a busy machine
MOST_BYTES = 2 << 30  # of data, beyond what the process with torch has
_LOOK_S = 0.02
_SAID = 4000  # characters of a traceback that are kept


@dataclass(frozen=True)
class Trouble:
    """Why a plugin cannot be used."""

    name: str
    reason: str
    traceback: str = ""


Described = Union[PluginDescription, Trouble]


def describe(
    sources: Sequence[Source], python: str = sys.executable, within_s: float = WITHIN_S
) -> List[Described]:
    """
    Describe each of *sources*, or say why it cannot be.

    Args:
        python: the interpreter, one that has torch.
        within_s: the time that one plugin may take.
    """
    if not sources:
        return []
    with tempfile.TemporaryDirectory(prefix="normlab-describing-") as folder:
        places = [source.written_below(Path(folder) / str(i)) for i, source in enumerate(sources)]
        limit = START_WITHIN_S + within_s * len(sources)
        said = _run([python, "-m", __name__, f"{within_s:g}", *map(str, places)], limit)
        return [_read(source, place, said) for source, place in zip(sources, places)]


def _run(command: Sequence[str], within_s: float) -> str:
    """Run *command* to its end, and return what it printed."""
    here = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(here), "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        return child.communicate(timeout=within_s)[0]
    except subprocess.TimeoutExpired:
        return "it did not end in time"
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing is left of its group
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def _read(source: Source, place: Path, said: str) -> Described:
    try:
        found = json.loads(_answer_of(place).read_text())
    except (OSError, ValueError):
        return Trouble(source.name, "its code ended the process that loaded it", said[-_SAID:])
    if "reason" in found:
        reason, trace = found["reason"], found["traceback"]
        return Trouble(source.name, reason.replace(source.digest, source.name), trace)
    return PluginDescription.model_validate({**found, "name": source.name})


def _answer_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def main(within_s: float, places: Sequence[Path]) -> int:
    """Import torch, then describe one plugin after the other, each in a fork."""
    importlib.import_module("torch")  # by name: who only asks never has it
    forks = Forks()
    for place in places:
        started = forks.start(partial(_describe_here, place), within_s)
        ends: Dict[int, int] = {}
        while started not in ends:
            time.sleep(_LOOK_S)
            ends = forks.ended()
        if ends[started] != 0 and not _answer_of(place).exists():
            _write(place, _ended(ends[started], within_s))
    return 0


def _ended(code: int, within_s: float) -> Dict[str, str]:
    reason = f"its code ended the process with {code}"
    if code == -signal.SIGKILL:
        reason = f"its code took longer than {within_s:g} s, or too much memory, and was killed"
    return {"reason": reason, "traceback": ""}


def _describe_here(place: Path) -> int:
    from normlab.plugins.loading import load
    from normlab.plugins.trying import with_places

    die_with_parent()
    _bound_memory()
    try:
        found = with_places(load(place, place.name))
    except MemoryError:
        _write(place, {"reason": "its code takes too much memory", "traceback": ""})
    except BaseException as e:  # a plugin may also call sys.exit
        reason = f"{type(e).__name__}: {e}"
        _write(place, {"reason": reason, "traceback": traceback.format_exc()[-_SAID:]})
    else:
        _write(place, found.model_dump(mode="json"))
    return 0


def _write(place: Path, answer: object) -> None:
    draft = _answer_of(place).with_suffix(".draft")
    draft.write_text(json.dumps(answer))
    draft.rename(_answer_of(place))


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), [Path(given) for given in sys.argv[2:]]))
