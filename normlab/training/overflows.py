"""Count statistics that are not finite, which the layers do not use."""

from __future__ import annotations

from normlab.norms.finite import layers_that_count, nonfinite_statistics
from normlab.training.accelerator import Session
from normlab.training.step_results import StepResults


class Overflows:
    """
    The count of an epoch: pairs of a batch and a layer whose statistics of it were not finite.

    The layers count from the start of the process, and state dicts do not contain their counts, so
    this object keeps the counts from before a resume.

    Args:
        session: the session whose layers count.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._counts = any(True for _ in layers_that_count(session.inspect()))
        self._before = 0  # in this epoch, before this process
        self._reported = 0  # the part of the layers' counts that was reported

    def end_epoch(self, results: StepResults, step: int) -> None:
        """Report the epoch's count, if the model has layers that count, and begin the next."""
        if self._counts:
            counted = nonfinite_statistics(self._session.inspect())
            value = self._before + counted - self._reported
            results.report("train/nonfinite_statistics", step, value)
            self._before, self._reported = 0, counted

    def state_dict(self) -> int:
        """Return the state that a resumed training needs."""
        if not self._counts:
            return 0
        return self._before + nonfinite_statistics(self._session.inspect()) - self._reported

    def load_state_dict(self, state: int) -> None:
        """Resume from the result of `state_dict`."""
        self._before = state
