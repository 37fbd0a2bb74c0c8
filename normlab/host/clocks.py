"""How far two clocks differ at least, whatever time a question and its answer were under way."""

from __future__ import annotations


def least_ahead_s(asked: float, there: float, answered: float) -> float:
    """
    Return by how many seconds this host's clock is ahead at least; 0.0 if both may agree.

    The other clock was read at some moment between the question and the answer: on a busy machine,
    these may be seconds apart although the clocks are the same.

    Args:
        asked: this host's clock before the question.
        there: the other clock.
        answered: this host's clock after the answer.
    """
    return max(asked - there, 0.0) + min(answered - there, 0.0)
