"""
Describe a plugin by a question and an answer between two processes.

The process that asks has no torch and never runs the code. The process that answers is a fork with
limited time and memory, so the code cannot affect other processes.
"""

from __future__ import annotations

import base64
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Union

from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import load
from normlab.plugins.sources import PluginFiles, unpacked
from normlab.plugins.trying import with_places

_SAID = 4000  # characters of a traceback that are kept


@dataclass(frozen=True)
class Trouble:
    """The reason why a plugin cannot be used."""

    name: str
    reason: str
    traceback: str = ""


Described = Union[PluginDescription, Trouble]


def to_question(source: PluginFiles) -> Dict[str, str]:
    """Return *source* as plain values."""
    return {"name": source.name, "archive": base64.b64encode(source.packed()).decode()}


def asked(question: Mapping[str, str]) -> PluginFiles:
    """Return the source that a question contains."""
    return unpacked(question["name"], base64.b64decode(question["archive"]))


def described_here(source: PluginFiles, folder: Path) -> Dict[str, Any]:
    """Run the code of *source* in this process, and return the answer."""
    try:
        found = with_places(load(source.written_below(folder), source.name))
    except MemoryError:
        return {"reason": "its code takes too much memory", "traceback": ""}
    except BaseException as e:  # a plugin may also call sys.exit
        reason = f"{type(e).__name__}: {e}"
        return {"reason": reason, "traceback": _told(e, folder)}
    return {"description": found.model_dump(mode="json")}


def understood(answer: Mapping[str, Any], source: PluginFiles) -> Described:
    """Return the description, or the trouble, in an *answer* about *source*."""
    if "description" in answer:
        description = {**answer["description"], "name": source.name}
        return PluginDescription.model_validate(description)
    if "reason" in answer:
        return Trouble(source.name, answer["reason"], answer["traceback"])
    return Trouble(
        source.name,
        "its code ended the process that loaded it, or took too long or too much memory",
    )


def _told(error: BaseException, folder: Path) -> str:
    """Format the author's part of a traceback, with the author's own paths."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if str(folder) in f.filename]
    start = frames.index(theirs[0]) if theirs else 0
    lines = traceback.format_list(frames[start:]) + traceback.format_exception_only(
        type(error), error
    )
    return "".join(lines).replace(f"{folder}/", "")[-_SAID:]
