"""Which way a metric gets better."""

from __future__ import annotations

_SMALLER = ("loss", "error", "perplexity", "time/")


def smaller_is_better(metric: str) -> bool:
    """Whether the best value of *metric* is its smallest."""
    return any(word in metric for word in _SMALLER)
