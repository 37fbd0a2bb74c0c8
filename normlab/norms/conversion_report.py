"""The report of `convert`: each norm layer of a model, and whether it was replaced."""

from __future__ import annotations

from collections import Counter
from typing import Dict, List, NamedTuple, Tuple

_SHOWN = 3


class Converted(NamedTuple):
    """A layer that was replaced."""

    path: str
    old: str
    """Its class."""
    new: str
    """The class of the new layer."""
    carried: Tuple[str, ...]
    """Parameters and running statistics whose values were kept."""
    notes: Tuple[str, ...]
    """Properties of the old layer that the new kind does not have."""


class KeptLayer(NamedTuple):
    """A layer that normalizes something and was not changed."""

    path: str
    kind: str
    why: str


class Skipped(NamedTuple):
    """A layer that `skip` named."""

    path: str
    kind: str
    by: str


class ConversionReport(NamedTuple):
    """Every norm layer of a model by its outcome; `str` returns a summary."""

    normalizer: str
    converted: Tuple[Converted, ...] = ()
    kept: Tuple[KeptLayer, ...] = ()
    skipped: Tuple[Skipped, ...] = ()

    def __str__(self) -> str:
        """Return a summary with one line per class and reason."""
        head = (
            f"converted to {self.normalizer}: {len(self.converted)}, kept: {len(self.kept)}, "
            f"skipped: {len(self.skipped)}"
        )
        lines = _gathered([(c.path, f"{c.old} -> {c.new}") for c in self.converted])
        lines += _gathered([(c.path, note) for c in self.converted for note in c.notes])
        lines += _gathered([(k.path, f"kept {k.kind}: {k.why}") for k in self.kept])
        lines += _gathered([(s.path, f"skipped {s.kind} by {s.by!r}") for s in self.skipped])
        return "\n".join([head, *lines])


def _gathered(found: List[Tuple[str, str]]) -> List[str]:
    counts = Counter(text for _, text in found)
    places: Dict[str, List[str]] = {}
    for path, text in found:
        places.setdefault(text, []).append(path or "the model")
    return [
        f"  {count} x {text} ({_listed(places[text])})" if count > 1
        else f"  {text} ({places[text][0]})"
        for text, count in counts.items()
    ]  # fmt: skip


def _listed(paths: List[str]) -> str:
    rest = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
